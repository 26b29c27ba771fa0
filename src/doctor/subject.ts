import type { JWTPayload } from 'jose';
import { type Finding, fine, printable, problem } from './finding.ts';
import type { RefusedExchange } from './refusal.ts';

/** What can be told of a subject token before it is sent. Pure. @param source as in `/tmp/token` */
export function subjectFinding(source: string, claims: JWTPayload | undefined, nowMs: number): Finding {
  if (claims === undefined)
    return fine('subject_token_read', `subject token from ${source}: opaque, so nothing can be read in it`);
  const { exp, aud, iss } = claims;
  if (typeof exp === 'number' && 1000 * exp <= nowMs) {
    return problem(
      'subject_token_expired',
      `the subject token from ${source} expired ${secondsAgo(exp, nowMs)} s ago`,
      {
        mend: "obtain a new one from the authorization server, as the agent's user would, and write it into the file",
      },
    );
  }
  const life = typeof exp === 'number' ? `, good for ${-secondsAgo(exp, nowMs)} s more` : '';
  const whom = `iss ${printable(JSON.stringify(iss ?? null))}, aud ${printable(JSON.stringify(aud ?? null))}`;
  return fine('subject_token_read', `subject token from ${source}: ${whom}${life}`);
}

/** Why a server may have refused the subject token itself. */
export function subjectRefused({ server, subject, refusal }: RefusedExchange): Finding | undefined {
  const blamed =
    /^invalid_(grant|token)$/.test(refusal.error) ||
    (refusal.error === 'invalid_request' &&
      (refusal.description === '' || /token|assertion/i.test(refusal.description)));
  if (!blamed) return undefined;
  const { iss, aud } = subject ?? {};
  if (iss !== undefined && server.issuer !== undefined && iss !== server.issuer) {
    return problem('subject_issuer_differs', `the server refused the caller's token: ${refusal.shown}`, {
      why: `the token is of issuer "${printable(iss)}", and the server is "${server.issuer}"`,
      mend: 'use a token of this very server; if both are the same one reached by two names, give it one fixed name (Keycloak: its hostname setting)',
    });
  }
  return problem('subject_token_refused', `the server refused the caller's token: ${refusal.shown}`, {
    why: `it may be expired, revoked or of an ended session, be of another type than subject_token.type says, or not be for "${server.clientId}"${
      aud === undefined ? '' : ` (its "aud" is ${printable(JSON.stringify(aud))})`
    }`,
    mend: 'obtain a new one; if that is refused as well, see subject_token.type and the audience of tokens that callers sign in for',
  });
}

function secondsAgo(epochSeconds: number, nowMs: number): number {
  return Math.round(nowMs / 1000 - epochSeconds);
}
