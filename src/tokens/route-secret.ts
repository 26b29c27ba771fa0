import { needsCaller, type Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { readCredential, unavailable } from '../secrets/credential.ts';
import { oncePerSecret, Secret } from '../secrets/secret.ts';
import type { IssuedToken } from './issued-token.ts';
import type { Lifetime } from './lifetime.ts';
import type { Session } from './session.ts';

/** Its owner decides how long a secret lives, and replaces the file. */
const UNLIMITED: Lifetime = {
  sentAtMs: 0,
  reusableUntilMs: Number.POSITIVE_INFINITY,
  refreshAtMs: Number.POSITIVE_INFINITY,
  expiresAtMs: Number.POSITIVE_INFINITY,
  expiresAtMonotonicMs: Number.POSITIVE_INFINITY,
  expiredOnArrival: false,
};

/** Only its owner knows what a secret permits. */
const UNKNOWN = { audience: [], scope: undefined };

/** The value of a header (RFC 9110 section 5.5), without bytes beyond ASCII. */
const HEADER_VALUE = /^[\x20-\x7e]+$/;

const tokenOf = oncePerSecret((text): IssuedToken | undefined => {
  const value = text.trim();
  if (!HEADER_VALUE.test(value)) return undefined;
  return { authorization: new Secret(`Bearer ${value}`), granted: UNKNOWN, lifetime: UNLIMITED };
});

/**
 * Reads the secret of a route. Returns the same object while its file is unchanged.
 * @param mustCheck see `readCredential`
 * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING if the route verifies callers and the token is missing; ERR_CREDENTIAL_UNAVAILABLE
 */
export async function obtainSecret(route: Route, { subject }: Session, mustCheck = false): Promise<IssuedToken> {
  const { credential, name } = route;
  if (credential.kind !== 'secret') throw new CambistError('ERR_INTERNAL', `route "${name}" has no secret`);
  if (subject === undefined && needsCaller(route)) {
    throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', `route "${name}": the request has no subject token`);
  }
  const what = secretName(route);
  const token = tokenOf(await readCredential(credential.source, what, mustCheck));
  if (token !== undefined) return token;
  throw unavailable(
    `${what}: the file contains characters that a header cannot carry, such as a line break: write one line of ASCII into it`,
  );
}

/** The name of a route's secret in messages and metrics. */
export function secretName({ name }: Pick<Route, 'name'>): string {
  return `secret of route "${name}"`;
}
