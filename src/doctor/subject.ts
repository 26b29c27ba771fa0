import type { JWTPayload } from 'jose';
import { type Finding, fine, printable, problem } from './finding.ts';

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
        fix: "obtain a new one from the authorization server, as the agent's user would, and write it into the file",
      },
    );
  }
  const life = typeof exp === 'number' ? `, good for ${-secondsAgo(exp, nowMs)} s more` : '';
  const whom = `iss ${printable(JSON.stringify(iss ?? null))}, aud ${printable(JSON.stringify(aud ?? null))}`;
  return fine('subject_token_read', `subject token from ${source}: ${whom}${life}`);
}

function secondsAgo(epochSeconds: number, nowMs: number): number {
  return Math.round(nowMs / 1000 - epochSeconds);
}
