import assert from 'node:assert/strict';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import {
  type Flight,
  keep,
  MAX_AGE_MS,
  type Model,
  type ModelToken,
  type Real,
  refusalKeyOf,
  resourceOf,
} from './cache-model.ts';
import { jwtOf, settle } from './sample.ts';
import { refusalOf } from './scripted-endpoint.ts';

/** A response of an authorization server. Times are in seconds from then. */
export type ServerResponse =
  | { kind: 'issue'; expiresIn: number | 'unknown'; exp: number | undefined; audience: string }
  | { kind: 'fail'; code: ErrorCode };

const LEEWAY_MS = 5000;
const UNKNOWN_LIFETIME_MS = 60_000;
const REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
]);

let number = 0;

/** Responds to an exchange in flight, and compares the results of all waiting callers with the model. */
export async function settleFlight(model: Model, real: Real, key: string, response: ServerResponse): Promise<void> {
  const flight = model.flights.get(key);
  assert.ok(flight !== undefined);
  const before = real.requests.length;
  model.flights.delete(key);
  if (response.kind === 'fail') await fail(model, real, key, flight, response.code);
  else await issue(model, real, key, flight, response);
  await settle();
  assert.equal(real.requests.length, before, 'a response starts no other exchange');
}

async function fail(model: Model, real: Real, key: string, flight: Flight, code: ErrorCode): Promise<void> {
  await flight.request.fail(refusalOf(code));
  assertWaiters(flight, code);
  if (!REFUSALS.has(code)) return;
  if (flight.refreshes !== undefined && model.kept.get(key)?.token === flight.refreshes) model.kept.delete(key);
  if (flight.subject === undefined) return;
  model.refusals.set(refusalKeyOf(flight.route, flight.caller), { atMs: real.clock.monotonicMs(), code });
  if (model.refusals.size > model.bound) model.pressed = true;
}

async function issue(
  model: Model,
  real: Real,
  key: string,
  flight: Flight,
  response: Extract<ServerResponse, { kind: 'issue' }>,
): Promise<void> {
  const { clock } = real;
  number += 1;
  const exp = response.exp === undefined ? undefined : clock.wallMs() / 1000 + response.exp;
  const text = jwtOf({ aud: response.audience, jti: number, ...(exp !== undefined && { exp }) });
  await flight.request.issue(text, response.expiresIn);
  if (response.audience !== 'backend') return assertWaiters(flight, 'ERR_ISSUED_TOKEN_AUDIENCE');
  if (response.exp !== undefined && 1000 * response.exp + LEEWAY_MS <= 0) {
    return assertWaiters(flight, 'ERR_STS_RESPONSE_INVALID');
  }
  assertWaiters(flight, `Bearer ${text}`);
  const token = tokenOf(flight, response, text, real);
  model.tokens.set(`Bearer ${text}`, token);
  if (flight.waiters.length > 0) model.given.set(key, token);
  if (!flight.ended) keep(model, key, token, clock);
  // A cache under pressure may have forgotten an earlier end of the session, and then it ignores this one.
  else if (model.pressed) token.keys.add(key);
}

/** The four limits of a lifetime, computed independently from the documentation. */
function tokenOf(
  flight: Flight,
  response: Extract<ServerResponse, { kind: 'issue' }>,
  text: string,
  { clock }: Real,
): ModelToken {
  const nowMs = clock.monotonicMs();
  const wallMs = clock.wallMs();
  const subjectExpiryMs = nowMs + (flight.subject?.expiresAtMs ?? Infinity) - wallMs;
  const statedMs = flight.sentMs + (response.expiresIn === 'unknown' ? Infinity : 1000 * response.expiresIn);
  const expMs = response.exp === undefined ? Infinity : nowMs + 1000 * response.exp;
  const knownMs = Math.min(statedMs, expMs);
  const ownMs = Math.min(
    knownMs === Infinity ? flight.sentMs + UNKNOWN_LIFETIME_MS : knownMs,
    flight.sentMs + MAX_AGE_MS,
  );
  const limitMs = Math.min(ownMs, subjectExpiryMs);
  return {
    text,
    issued: flight.waiters[0]?.issued,
    caller: flight.caller,
    resource: resourceOf(flight.route),
    keys: new Set(),
    expiresAtMs: limitMs,
    wallExpiresAtMs: wallMs + Math.min(expMs, subjectExpiryMs) - nowMs,
    arrivedMs: nowMs,
    reusableUntilMs: limitMs - Math.min(15_000, 0.2 * Math.max(0, limitMs - nowMs)),
    refreshable: subjectExpiryMs > ownMs,
    refusedUnder: new Set(),
  };
}

function assertWaiters(flight: Flight, outcome: string): void {
  for (const waiter of flight.waiters) assert.equal(waiter.outcome, outcome);
}
