import { decodeProtectedHeader, type JWTPayload } from 'jose';
import { ASYMMETRIC_ALGORITHMS } from '../config/algorithms.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { isFor } from '../tokens/audience.ts';
import { textOf } from '../tokens/token-text.ts';
import { type Finding, listed, problem, type ShowClaim, shortAscii } from './finding.ts';
import { describeKeys, type UsableKey } from './key-set.ts';
import { differInSlash } from './metadata-findings.ts';

/** A subject token that the `verify` rules of its route refuse. */
export interface UnverifiedToken {
  readonly rules: SubjectVerification;
  readonly token: string;
  /** A token that is not a JWT has none. */
  readonly claims: JWTPayload | undefined;
  /** The issuer's keys. Undefined if they are unknown here. */
  readonly keys: readonly UsableKey[] | undefined;
  readonly show: ShowClaim;
  /** The proxy's own error message. */
  readonly verdict: string;
}

/** Explains why a subject token is refused before the exchange. Reports every reason. */
export function verificationFindings(unverified: UnverifiedToken): Finding[] {
  const { rules, claims, verdict, show } = unverified;
  if (claims === undefined) {
    return [
      problem('verify_refused', 'the subject token is not a JWT, and only a JWT can be verified here', {
        fix: 'configure the issuer to give the agent JWTs, or remove subject_token.verify, so that only the authorization server checks the token',
      }),
    ];
  }
  if (claims.iss !== rules.issuer) return [issuerDiffers(rules, claims, show)];
  const differs = isFor(claims, rules.audience) ? undefined : audienceDiffers(rules, claims, show);
  const reasons = [keyFinding(unverified), differs].filter((finding) => finding !== undefined);
  if (reasons.length > 0) return reasons;
  return [
    problem('verify_refused', verdict, {
      fix: "obtain a complete token the way the agent's user does: a claim or the signature differs from those that the issuer makes",
    }),
  ];
}

function issuerDiffers({ issuer }: SubjectVerification, claims: JWTPayload, show: ShowClaim): Finding {
  const iss = textOf(claims.iss);
  const shown = show(iss);
  return problem(
    'verify_issuer_differs',
    `the subject token has the issuer "${shown}", but subject_token.verify requires "${issuer}"`,
    {
      why: differInSlash(iss, issuer)
        ? 'they differ in the trailing slash; the comparison is exact'
        : 'it is from another server, or from the same server under another name',
      fix: `obtain one of that issuer, or set subject_token.verify.issuer to "${shown}" if callers have its tokens`,
    },
  );
}

function audienceDiffers({ audience }: SubjectVerification, { aud }: JWTPayload, show: ShowClaim): Finding {
  const wanted = audience === 'any' ? [] : audience;
  return problem(
    'verify_audience_differs',
    `the audience of the subject token is ${listed([aud ?? []].flat(), show)}, but subject_token.verify requires ${listed(wanted)}`,
    {
      why: "the default of verify.audience is the client_id at the route's authorization server",
      fix: "configure the issuer to add it to the callers' tokens (Keycloak: an audience mapper), or set subject_token.verify.audience to their audience",
    },
  );
}

function keyFinding({ rules, token, keys, show }: UnverifiedToken): Finding | undefined {
  const header = decodeProtectedHeader(token);
  const alg = textOf(header.alg);
  const kid = header.kid === undefined ? undefined : textOf(header.kid);
  if (!ASYMMETRIC_ALGORITHMS.some((known) => known === alg)) {
    return problem('verify_algorithm_refused', `the subject token has the signature algorithm "${show(alg)}"`, {
      why: 'no public key can verify it: it has no signature, or one made with a secret that the issuer shares',
      fix: 'configure the issuer to sign access tokens with RS256 or ES256, or remove subject_token.verify, so that only the authorization server checks the token',
    });
  }
  if (keys === undefined) return undefined;
  if (keys.some(({ name, algorithms }) => (kid === undefined || kid === name) && algorithms.includes(alg))) {
    return undefined;
  }
  const key = kid === undefined ? 'an unnamed key' : `the key "${shortAscii(kid)}"`;
  return problem(
    'verify_key_unknown',
    `the subject token is signed with ${key} (${shortAscii(alg)}), but the issuer has ${describeKeys(keys)}`,
    {
      why: 'the issuer has withdrawn the key, or another server with the same issuer name signed the token',
      fix: `obtain a new token; if that has such a key as well, set subject_token.verify.jwks_uri to the keys of the server that signs for "${rules.issuer}"`,
    },
  );
}
