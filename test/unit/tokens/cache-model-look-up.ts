import assert from 'node:assert/strict';
import type { Route } from '../../../src/config/route.ts';
import type { Lookup } from '../../../src/tokens/broker.ts';
import type { Subject } from '../../../src/tokens/subject.ts';
import {
  type Flight,
  isLive,
  isOwn,
  keptUnder,
  type Model,
  type ModelToken,
  type Real,
  refusalKeyOf,
  resourceOf,
} from './cache-model.ts';
import type { ScriptedRequest } from './scripted-endpoint.ts';

const REFUSAL_MS = 10_000;
const REFRESH_COOLDOWN_MS = 3000;

/** One lookup in the model. */
export interface ModelLookup {
  readonly key: string;
  readonly caller: string;
  readonly subject: Subject;
  readonly route: Route;
}

/** Compares a lookup, and the token requests that it started, with the model. */
export function assertLookup(
  model: Model,
  real: Real,
  lookedUp: ModelLookup,
  lookup: Lookup,
  requests: ScriptedRequest[],
): void {
  const { key } = lookedUp;
  const kept = keptUnder(model, key, real.clock);
  if (lookup.result !== 'hit') {
    assert.ok(kept === undefined || model.pressed, `a token was cached, but the lookup was a ${lookup.result}`);
    model.kept.delete(key);
  }
  switch (lookup.result) {
    case 'hit':
      assertHit(model, real, lookedUp, lookup.token.authorization.reveal(), requests);
      break;
    case 'joined': {
      const flight = model.flights.get(key);
      assert.ok(flight !== undefined, 'there was no exchange to join');
      assert.equal(requests.length, 0);
      flight.ended = false;
      wait(flight, lookup.pending);
      break;
    }
    case 'miss': {
      assert.ok(!model.flights.has(key), 'an exchange was in flight already');
      assert.ok(model.pressed || cachedRefusal(model, real, lookedUp) === undefined, 'a refusal was forgotten');
      assert.equal(requests.length, 1);
      const flight = startFlight(model, real, lookedUp, requests[0], undefined);
      wait(flight, lookup.pending);
      break;
    }
    case 'negative': {
      assert.equal(cachedRefusal(model, real, lookedUp), lookup.error.code);
      assert.ok(!model.flights.has(key));
      assert.equal(requests.length, 0);
      break;
    }
    default:
      assert.fail('every route of the model needs a token');
  }
}

function assertHit(model: Model, real: Real, lookedUp: ModelLookup, bearer: string, requests: ScriptedRequest[]): void {
  const { key, caller, route, subject } = lookedUp;
  const { clock } = real;
  const nowMs = clock.monotonicMs();
  const token = model.tokens.get(bearer);
  assert.ok(token !== undefined, 'no server issued this token');
  if (!isOwn(route)) assert.equal(token.caller, caller);
  assert.equal(token.resource, resourceOf(route));
  assert.ok(token.keys.has(key), 'the token was issued for another session');
  assert.ok(!token.refusedUnder.has(key), 'the backend refused the token');
  assert.ok(nowMs < token.expiresAtMs && clock.wallMs() < token.wallExpiresAtMs, 'the token is expired');
  assert.ok(isLive(token, clock), 'the token is past its reuse');
  let kept = model.kept.get(key);
  if (kept?.token !== token) {
    assert.ok(model.pressed, 'the token is not the cached one');
    kept = { token, attemptMs: Number.NEGATIVE_INFINITY };
    model.kept.set(key, kept);
  }
  model.given.set(key, token);

  const shareMs = token.reusableUntilMs - token.arrivedMs;
  const cooldownIsOver = nowMs - kept.attemptMs >= REFRESH_COOLDOWN_MS;
  assert.ok(requests.length <= 1);
  if (requests.length === 1) {
    assert.ok(!model.flights.has(key), 'a refresh is in flight already');
    assert.ok(token.refreshable, 'the next token would not live longer');
    assert.ok(nowMs >= token.reusableUntilMs - 0.2 * shareMs - 1, 'the refresh is too early');
    assert.ok(cooldownIsOver, 'the refresh is too frequent');
    assert.ok(isOwn(route) || clock.wallMs() < (subject.expiresAtMs ?? Infinity), 'the subject token is expired');
    startFlight(model, real, lookedUp, requests[0], token);
  } else if (!model.pressed && token.refreshable && cooldownIsOver && !model.flights.has(key)) {
    assert.ok(nowMs <= token.reusableUntilMs - 0.1 * shareMs + 1, 'the refresh is missing');
  }
  if (nowMs >= token.reusableUntilMs - 0.2 * shareMs && requests.length === 1) kept.attemptMs = nowMs;
}

function cachedRefusal(model: Model, real: Real, { caller, route }: ModelLookup): string | undefined {
  if (isOwn(route)) return undefined;
  const refusal = model.refusals.get(refusalKeyOf(route, caller));
  return refusal !== undefined && real.clock.monotonicMs() - refusal.atMs <= REFUSAL_MS ? refusal.code : undefined;
}

function startFlight(
  model: Model,
  real: Real,
  { key, caller, subject, route }: ModelLookup,
  request: ScriptedRequest | undefined,
  refreshes: ModelToken | undefined,
): Flight {
  assert.ok(request !== undefined);
  const { grant } = request;
  if (isOwn(route)) assert.equal(grant.kind, 'client_credentials');
  else assert.equal(grant.kind === 'token_exchange' && grant.subjectToken, subject.token.reveal());
  const flight: Flight = {
    request,
    caller,
    route,
    subject: isOwn(route) ? undefined : subject,
    refreshes,
    sentMs: real.clock.monotonicMs(),
    waiters: [],
    ended: false,
  };
  model.flights.set(key, flight);
  return flight;
}

function wait(flight: Flight, pending: Promise<Flight['waiters'][number]['issued'] & {}>): void {
  const waiter: Flight['waiters'][number] = { outcome: undefined, issued: undefined };
  flight.waiters.push(waiter);
  pending.then(
    (issued) => {
      waiter.outcome = issued.authorization.reveal();
      waiter.issued = issued;
    },
    (error: { code: string }) => {
      waiter.outcome = error.code;
    },
  );
}
