import { decodeProtectedHeader } from 'jose';
import { ASYMMETRIC_ALGORITHMS } from '../config/algorithms.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { isFor } from '../tokens/audience.ts';
import { NO_MATCHING_KEY } from '../tokens/subject-check.ts';
import { readClaims, textOf } from '../tokens/token-text.ts';
import { type Finding, listed, problem, type ShowClaim } from './finding.ts';
import { differInSlash } from './metadata-findings.ts';

/** A subject token that the `verify` rules of its route refuse. */
export interface UnverifiedToken {
  readonly rules: SubjectVerification;
  readonly token: string;
  readonly show: ShowClaim;
  /** The proxy's own error message. */
  readonly verdict: string;
}

/** Explains why a subject token is refused before the exchange. */
export function verificationFinding({ rules, token, show, verdict }: UnverifiedToken): Finding {
  const { issuer, audience } = rules;
  const claims = readClaims(token);
  if (claims === undefined) {
    return problem('verify_refused', 'the subject token is not a JWT, and only a JWT can be verified here', {
      fix: 'configure the issuer to give the agent JWTs, or remove subject_token.verify, so that only the authorization server checks the token',
    });
  }
  const iss = textOf(claims.iss);
  if (iss !== issuer) {
    const shown = show(iss);
    const what = `the subject token has the issuer "${shown}", but subject_token.verify requires "${issuer}"`;
    return problem('verify_issuer_differs', what, {
      why: differInSlash(iss, issuer)
        ? 'they differ in the trailing slash; the comparison is exact'
        : 'it is from another server, or from the same server under another name',
      fix: `obtain one of that issuer, or set subject_token.verify.issuer to "${shown}" if callers have its tokens`,
    });
  }
  const { kid, ...header } = decodeProtectedHeader(token);
  const alg = textOf(header.alg);
  if (!ASYMMETRIC_ALGORITHMS.some((known) => known === alg)) {
    return problem('verify_algorithm_refused', `the subject token has the signature algorithm "${show(alg)}"`, {
      why: 'no public key can verify it: it has no signature, or one made with a secret that the issuer shares',
      fix: 'configure the issuer to sign access tokens with RS256 or ES256, or remove subject_token.verify, so that only the authorization server checks the token',
    });
  }
  if (verdict.includes(NO_MATCHING_KEY)) {
    const key = kid === undefined ? 'an unnamed key' : `the key "${show(kid)}"`;
    return problem(
      'verify_key_unknown',
      `the subject token is signed with ${key} (${show(alg)}), which the issuer does not have`,
      {
        why: 'the issuer has withdrawn the key, or another server with the same issuer name signed the token',
        fix: `obtain a new token; if that has such a key as well, set subject_token.verify.jwks_uri to the keys of the server that signs for "${issuer}"`,
      },
    );
  }
  if (!isFor(claims, audience)) {
    const stated = [claims.aud ?? []].flat();
    const has =
      stated.length === 0
        ? 'the subject token has no audience'
        : `the audience of the subject token is ${listed(stated, show)}`;
    const what = `${has}, but subject_token.verify requires ${listed([audience].flat())}`;
    return problem('verify_audience_differs', what, {
      why: "the default of verify.audience is the client_id at the route's authorization server",
      fix: "configure the issuer to add it to the callers' tokens (Keycloak: an audience mapper), or set subject_token.verify.audience to their audience",
    });
  }
  return problem('verify_refused', verdict, {
    fix: "obtain a complete new token the way the agent's user does: a claim or the signature differs from those that the issuer makes",
  });
}
