import { decodeProtectedHeader, type JWTPayload } from 'jose';
import type { SubjectVerification } from '../config/config.ts';
import { ASYMMETRIC_ALGORITHMS } from '../config/schema-authorization-server.ts';
import { isFor } from '../tokens/issued.ts';
import { type Finding, listed, printable, problem } from './finding.ts';
import { describeKeys, type UsableKey } from './key-set.ts';
import { differInSlash } from './unusable-metadata.ts';

/** A subject token that `verify` of its route refuses. */
export interface UnverifiedToken {
  readonly rules: SubjectVerification;
  readonly token: string;
  /** Undefined where it is no JWT. */
  readonly claims: JWTPayload | undefined;
  /** Those of the issuer. */
  readonly keys: readonly UsableKey[];
  /** What the program says of it. */
  readonly verdict: string;
}

/** Why a subject token is not found good here, before anybody is asked: all that speaks against it. Pure. */
export function verificationFindings(unverified: UnverifiedToken): Finding[] {
  const { rules, claims, verdict } = unverified;
  if (claims === undefined) {
    return [
      problem('verify_refused', 'the subject token is no JWT, and only a JWT can be verified here', {
        fix: 'let the issuer give the agent JWTs, or remove subject_token.verify: its authorization server then says alone whether it is good',
      }),
    ];
  }
  if (claims.iss !== rules.issuer) return [issuerDiffers(rules, claims)];
  const findings = [keyFinding(unverified), isFor(claims, rules.audience) ? undefined : audienceDiffers(rules, claims)];
  const told = findings.filter((finding) => finding !== undefined);
  if (told.length > 0) return told;
  return [
    problem('verify_refused', verdict, {
      fix: "obtain one as the agent's user would, and give it whole: a claim or the signature is not what its issuer makes",
    }),
  ];
}

function issuerDiffers({ issuer }: SubjectVerification, claims: JWTPayload): Finding {
  const iss = textOf(claims.iss);
  return problem(
    'verify_issuer_differs',
    `the subject token is of issuer "${printable(iss)}", and subject_token.verify wants "${issuer}"`,
    {
      why: differInSlash(iss, issuer)
        ? 'they differ in the slash at the end, and are compared to the letter'
        : 'it is of another server, or of the same by another name',
      fix: `obtain one of that issuer, or set subject_token.verify.issuer to "${printable(iss)}" if callers' tokens are to be its`,
    },
  );
}

function audienceDiffers({ audience }: SubjectVerification, { aud }: JWTPayload): Finding {
  const wanted = audience === 'any' ? [] : audience;
  return problem(
    'verify_audience_differs',
    `the subject token is for ${listed([aud ?? []].flat())}, and subject_token.verify wants ${listed(wanted)}`,
    {
      why: "where verify.audience is left out, it is the client_id at the route's authorization server",
      fix: "let the issuer put it into the callers' tokens (Keycloak: an audience mapper), or set subject_token.verify.audience to what they are for",
    },
  );
}

/** Can the token have been signed by one of the keys at all? */
function keyFinding({ rules, token, keys }: UnverifiedToken): Finding | undefined {
  const header = decodeProtectedHeader(token);
  const alg = textOf(header.alg);
  const kid = header.kid === undefined ? undefined : textOf(header.kid);
  if (!ASYMMETRIC_ALGORITHMS.some((known) => known === alg)) {
    return problem('verify_algorithm_refused', `the subject token is signed by "${printable(alg)}"`, {
      why: 'nobody can verify it by a public key: it has no signature, or one by a secret that the issuer shares',
      fix: 'let the issuer sign access tokens with RS256 or ES256, or remove subject_token.verify: its authorization server then says alone whether it is good',
    });
  }
  if (keys.some(({ name, algorithms }) => (kid === undefined || kid === name) && algorithms.includes(alg))) {
    return undefined;
  }
  const named = kid === undefined ? 'without a name' : `"${printable(kid)}"`;
  return problem(
    'verify_key_unknown',
    `the subject token is signed by a key ${named} (${printable(alg)}), and the issuer has ${describeKeys(keys)}`,
    {
      why: 'the key has been withdrawn since, or is that of another server that calls itself the same',
      fix: `obtain a new token; where that has such a key as well, set subject_token.verify.jwks_uri to the keys of whoever signs for "${rules.issuer}"`,
    },
  );
}

/** Whoever made the token wrote what they liked. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
