import assert from 'node:assert/strict';
import type { ErrorCode } from '../../../src/errors.ts';
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

/** What an authorization server says; ends are in seconds from when it says so. */
export type Answer =
  | { kind: 'issue'; expiresIn: number | 'unknown'; exp: number | undefined; audience: string }
  | { kind: 'fail'; code: ErrorCode };

const LEEWAY_MS = 5000;
const UNKNOWN_LIFE_MS = 60_000;
const REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
]);

let number = 0;

/** Answers an exchange under way, and holds what its waiters get to the model: all of them, at once, the same. */
export async function settleFlight(model: Model, real: Real, key: string, answer: Answer): Promise<void> {
  const flight = model.flights.get(key);
  assert.ok(flight !== undefined);
  const before = real.requests.length;
  model.flights.delete(key);
  if (answer.kind === 'fail') await fail(model, real, key, flight, answer.code);
  else await issue(model, real, key, flight, answer);
  await settle();
  assert.equal(real.requests.length, before, 'nobody asks again because of an answer');
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
  answer: Extract<Answer, { kind: 'issue' }>,
): Promise<void> {
  const { clock } = real;
  number += 1;
  const exp = answer.exp === undefined ? undefined : clock.wallMs() / 1000 + answer.exp;
  const text = jwtOf({ aud: answer.audience, jti: number, ...(exp !== undefined && { exp }) });
  await flight.request.issue(text, answer.expiresIn);
  if (answer.audience !== 'backend') return assertWaiters(flight, 'ERR_ISSUED_TOKEN_AUDIENCE');
  if (answer.exp !== undefined && 1000 * answer.exp + LEEWAY_MS <= 0) {
    return assertWaiters(flight, 'ERR_STS_RESPONSE_INVALID');
  }
  assertWaiters(flight, `Bearer ${text}`);
  const token = tokenOf(flight, answer, text, real);
  model.tokens.set(`Bearer ${text}`, token);
  if (flight.waiters.length > 0) model.given.set(key, token);
  if (!flight.ended) keep(model, key, token, clock);
  // The end of its session may have been one too many for a cache that had lost what ended before.
  else if (model.pressed) token.keys.add(key);
}

/** The four clocks, once more and from the contract. */
function tokenOf(
  flight: Flight,
  answer: Extract<Answer, { kind: 'issue' }>,
  text: string,
  { clock }: Real,
): ModelToken {
  const nowMs = clock.monotonicMs();
  const wallMs = clock.wallMs();
  const subjectEndMs = nowMs + (flight.subject?.expiresAtMs ?? Infinity) - wallMs;
  const saidMs = flight.sentMs + (answer.expiresIn === 'unknown' ? Infinity : 1000 * answer.expiresIn);
  const expMs = answer.exp === undefined ? Infinity : nowMs + 1000 * answer.exp;
  const knownMs = Math.min(saidMs, expMs);
  const ownMs = Math.min(knownMs === Infinity ? flight.sentMs + UNKNOWN_LIFE_MS : knownMs, flight.sentMs + MAX_AGE_MS);
  const endMs = Math.min(ownMs, subjectEndMs);
  return {
    text,
    issued: flight.waiters[0]?.issued,
    caller: flight.caller,
    resource: resourceOf(flight.route),
    keys: new Set(),
    endMs,
    wallEndMs: wallMs + Math.min(expMs, subjectEndMs) - nowMs,
    arrivedMs: nowMs,
    reusableUntilMs: endMs - Math.min(15_000, 0.2 * Math.max(0, endMs - nowMs)),
    refreshable: subjectEndMs > ownMs,
    refusedUnder: new Set(),
  };
}

function assertWaiters(flight: Flight, outcome: string): void {
  for (const waiter of flight.waiters) assert.equal(waiter.outcome, outcome);
}
