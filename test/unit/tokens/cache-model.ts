import assert from 'node:assert/strict';
import type { Route } from '../../../src/config/route.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import type { Lookup } from '../../../src/tokens/broker.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { Subject } from '../../../src/tokens/subject.ts';
import type { FakeClock } from '../../harness/fake-clock.ts';
import { exchangeOf, jwtOf, routeOf, serverOf, settle, subjectOf, targetOf } from './sample.ts';
import { refusalOf, type ScriptedRequest, setUpBroker } from './scripted-endpoint.ts';

interface ModelToken {
  readonly text: string;
  readonly issued: IssuedToken | undefined;
  readonly caller: string;
  readonly resource: string;
  readonly keys: Set<string>;
  /** Expiry on the monotonic clock and on the wall clock. */
  readonly expiresAtMs: number;
  readonly wallExpiresAtMs: number;
  readonly arrivedMs: number;
  readonly reusableUntilMs: number;
  /** The subject token lives longer than this token. */
  readonly refreshable: boolean;
  /** Keys for which the backend refused the token. */
  readonly refusedUnder: Set<string>;
}

interface Flight {
  readonly request: ScriptedRequest;
  readonly caller: string;
  readonly route: Route;
  readonly subject: Subject | undefined;
  readonly refreshes: ModelToken | undefined;
  readonly sentMs: number;
  readonly waiters: { outcome: string | undefined; issued: IssuedToken | undefined }[];
  ended: boolean;
}

export type Model = ReturnType<typeof setUpModel>['model'];
export type Real = ReturnType<typeof setUpModel>['real'];

const MAX_AGE_MS = 300_000;

const LIFETIMES_MS: Record<string, number> = { alice: Number.POSITIVE_INFINITY, bob: 400_000, carol: 60_000 };
export const CALLERS = Object.keys(LIFETIMES_MS);

const github = targetOf({ expectAudience: ['backend'] });
const docs = targetOf({ audience: ['docs'], expectAudience: ['backend'] });
/** Two routes for one resource, one for another resource, and one with a token of cambist itself. */
export const ROUTES: readonly Route[] = [
  routeOf({ name: 'github', credential: exchangeOf({ target: github }) }),
  routeOf({ name: 'same', credential: exchangeOf({ target: github }) }),
  routeOf({ name: 'docs', credential: exchangeOf({ target: docs }) }),
  routeOf({ name: 'own', credential: { kind: 'client_credentials', authorizationServer: serverOf(), target: docs } }),
];

export const isOwn = (route: Route): boolean => route.credential.kind === 'client_credentials';
const resourceOf = (route: Route): string => (route.name === 'same' ? 'github' : route.name);

export function keyOf(route: Route, caller: string, id: string | undefined): string {
  return isOwn(route) ? 'own' : JSON.stringify([caller, id ?? null, resourceOf(route)]);
}

function refusalKeyOf(route: Route, caller: string): string {
  return JSON.stringify([caller, resourceOf(route)]);
}

export function setUpModel(bound: number, random: number) {
  const setup = setUpBroker({ maxEntries: bound, maxAgeMs: MAX_AGE_MS });
  setup.random = random;
  /** The expected state of the cache: a few maps without bound, eviction or hashing. */
  const model = {
    bound,
    /** The bound was exceeded at some time. Then a token may be missing, but never wrong. */
    pressed: false,
    kept: new Map<string, { token: ModelToken; attemptMs: number }>(),
    flights: new Map<string, Flight>(),
    refusals: new Map<string, { atMs: number; code: ErrorCode }>(),
    /** The last token that was returned for a key. */
    given: new Map<string, ModelToken>(),
    tokens: new Map<string, ModelToken>(),
    /** When a key last lost its token because of a report of the upstream. */
    refusedMs: new Map<string, number>(),
    openedMs: new Map<string, number>(),
    endedMs: new Map<string, number>(),
  };
  return { model, real: Object.assign(setup, { callerOf: createCallers(setup.clock) }) };
}

/** Creates each subject token once. A caller gets a new one when the previous one expires. */
function createCallers(clock: FakeClock) {
  const startMs = clock.wallMs();
  const made = new Map<string, { name: string; subject: Subject }>();
  return (name: string, old: boolean) => {
    const lifetimeMs = LIFETIMES_MS[name] ?? 0;
    const now = Number.isFinite(lifetimeMs) ? Math.floor((clock.wallMs() - startMs) / lifetimeMs) : 0;
    const generation = old ? now - 1 : now;
    const full = `${name}-${generation}`;
    const expiresAtMs = Number.isFinite(lifetimeMs) ? startMs + (generation + 1) * lifetimeMs : undefined;
    const caller = made.get(full) ?? { name: full, subject: subjectOf(full, expiresAtMs) };
    made.set(full, caller);
    return caller;
  };
}

/** May this token still be returned? Both clocks must allow it. */
export function isLive(token: ModelToken, clock: FakeClock): boolean {
  return clock.monotonicMs() < token.reusableUntilMs && clock.wallMs() < token.wallExpiresAtMs;
}

/** Finds the token of a key. Drops an expired one, as a lookup does. */
export function keptUnder(model: Model, key: string, clock: FakeClock) {
  const kept = model.kept.get(key);
  if (kept === undefined || isLive(kept.token, clock)) return kept;
  model.kept.delete(key);
  return undefined;
}

export function keep(model: Model, key: string, token: ModelToken, clock: FakeClock): void {
  const nowMs = clock.monotonicMs();
  if (token.reusableUntilMs - nowMs < 1) return;
  model.kept.set(key, { token, attemptMs: Number.NEGATIVE_INFINITY });
  token.keys.add(key);
  if (model.kept.size > model.bound) model.pressed = true;
}

/** Checks the invariants after each step. */
export function assertInvariants(model: Model, real: Real): void {
  assert.ok(real.cache.size <= model.bound, `${real.cache.size} entries exceed the bound ${model.bound}`);
  const completed = real.outcomes.length;
  assert.equal(real.requests.length - completed, model.flights.size, 'one exchange in flight for each waiting key');
}

const REFUSAL_MS = 10_000;
const REFRESH_COOLDOWN_MS = 3000;

interface ModelLookup {
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
