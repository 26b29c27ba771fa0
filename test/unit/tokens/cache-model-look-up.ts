import assert from 'node:assert/strict';
import type { Route } from '../../../src/config/config.ts';
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
const REFRESH_PAUSE_MS = 3000;

/** One look-up, as the model sees it. */
export interface Asked {
  readonly key: string;
  readonly caller: string;
  readonly subject: Subject;
  readonly route: Route;
}

/** Holds a look-up, and the token requests that it led to, to the model. */
export function assertLookup(
  model: Model,
  real: Real,
  asked: Asked,
  lookup: Lookup,
  requests: ScriptedRequest[],
): void {
  const { key } = asked;
  const kept = keptUnder(model, key, real.clock);
  if (lookup.result !== 'hit') {
    assert.ok(kept === undefined || model.pressed, `a token was there, and the look-up was a ${lookup.result}`);
    model.kept.delete(key);
  }
  switch (lookup.result) {
    case 'hit':
      assertHit(model, real, asked, lookup.token.authorization.reveal(), requests);
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
      assert.ok(!model.flights.has(key), 'an exchange was under way already');
      assert.ok(model.pressed || remembered(model, real, asked) === undefined, 'a refusal was forgotten');
      assert.equal(requests.length, 1);
      const flight = takeOff(model, real, asked, requests[0], undefined);
      wait(flight, lookup.pending);
      break;
    }
    case 'negative': {
      assert.equal(remembered(model, real, asked), lookup.error.code);
      assert.ok(!model.flights.has(key));
      assert.equal(requests.length, 0);
      break;
    }
    default:
      assert.fail('no route of the model is passed by');
  }
}

function assertHit(model: Model, real: Real, asked: Asked, bearer: string, requests: ScriptedRequest[]): void {
  const { key, caller, route, subject } = asked;
  const { clock } = real;
  const nowMs = clock.monotonicMs();
  const token = model.tokens.get(bearer);
  assert.ok(token !== undefined, 'nobody issued this token');
  if (!isOwn(route)) assert.equal(token.caller, caller);
  assert.equal(token.resource, resourceOf(route));
  assert.ok(token.keys.has(key), 'it was issued for another session');
  assert.ok(!token.refusedUnder.has(key), 'its backend refused it');
  assert.ok(nowMs < token.endMs && clock.wallMs() < token.wallEndMs, 'it is past its end');
  assert.ok(isLive(token, clock), 'its reuse has ended');
  let kept = model.kept.get(key);
  if (kept?.token !== token) {
    assert.ok(model.pressed, 'it is not the one that was kept last');
    kept = { token, attemptMs: Number.NEGATIVE_INFINITY };
    model.kept.set(key, kept);
  }
  model.given.set(key, token);

  const shareMs = token.reusableUntilMs - token.arrivedMs;
  const pauseIsOver = nowMs - kept.attemptMs >= REFRESH_PAUSE_MS;
  assert.ok(requests.length <= 1);
  if (requests.length === 1) {
    assert.ok(!model.flights.has(key), 'it is refreshed already');
    assert.ok(token.refreshable, 'the next one would live no longer');
    assert.ok(nowMs >= token.reusableUntilMs - 0.2 * shareMs - 1, 'it is refreshed too early');
    assert.ok(pauseIsOver, 'it is refreshed too often');
    assert.ok(isOwn(route) || clock.wallMs() < (subject.expiresAtMs ?? Infinity), 'its subject token is dead');
    takeOff(model, real, asked, requests[0], token);
  } else if (!model.pressed && token.refreshable && pauseIsOver && !model.flights.has(key)) {
    assert.ok(nowMs <= token.reusableUntilMs - 0.1 * shareMs + 1, 'it is not refreshed');
  }
  if (nowMs >= token.reusableUntilMs - 0.2 * shareMs && requests.length === 1) kept.attemptMs = nowMs;
}

function remembered(model: Model, real: Real, { caller, route }: Asked): string | undefined {
  if (isOwn(route)) return undefined;
  const refusal = model.refusals.get(refusalKeyOf(route, caller));
  return refusal !== undefined && real.clock.monotonicMs() - refusal.atMs <= REFUSAL_MS ? refusal.code : undefined;
}

function takeOff(
  model: Model,
  real: Real,
  { key, caller, subject, route }: Asked,
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
