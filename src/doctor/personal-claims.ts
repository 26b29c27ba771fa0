import type { JWTPayload } from 'jose';
import type { SentValue } from '../tokens/sent-values.ts';

/** Claims that name or describe a person (OpenID Connect Core 1.0 section 5.1), and Entra's names for some of them. */
const PERSONAL: readonly string[] = (
  'name given_name family_name middle_name nickname preferred_username email phone_number birthdate address ' +
  'profile picture website upn unique_name'
).split(' ');

/** Shorter values occur in ordinary words. */
const MIN_LENGTH = 4;

/** The values of a token's personal claims, for `hideCredentials`: servers and backends may repeat them in an error. */
export function personalValues(claims: JWTPayload | undefined): SentValue[] {
  return PERSONAL.flatMap((name) => {
    const value: unknown = claims?.[name];
    return typeof value === 'string' && value.length >= MIN_LENGTH ? [{ name, value, isCredential: true }] : [];
  });
}

/** Drops personal claims, also from nested ones such as `act`. */
export function withoutPersonal(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutPersonal);
  const kept = Object.entries(value).filter(([name]) => !PERSONAL.includes(name));
  return Object.fromEntries(kept.map(([name, inner]) => [name, withoutPersonal(inner)]));
}
