import assert from 'node:assert/strict';
import type { Route } from '../../../src/config/route.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { Subject } from '../../../src/tokens/subject.ts';
import type { FakeClock } from '../../harness/fake-clock.ts';
import { exchangeOf, routeOf, serverOf, subjectOf, targetOf } from './sample.ts';
import { type BrokerSetup, type ScriptedRequest, setUpBroker } from './scripted-endpoint.ts';

/** A caller with its current token. It gets a new token when the previous one expires. */
export interface Caller {
  readonly name: string;
  readonly subject: Subject;
}

/** An issued token in the model. */
export interface ModelToken {
  readonly text: string;
  readonly issued: IssuedToken | undefined;
  readonly caller: string;
  readonly resource: string;
  /** Keys that may find the token. */
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

export interface Flight {
  readonly request: ScriptedRequest;
  readonly caller: string;
  readonly route: Route;
  readonly subject: Subject | undefined;
  readonly refreshes: ModelToken | undefined;
  readonly sentMs: number;
  readonly waiters: { outcome: string | undefined; issued: IssuedToken | undefined }[];
  ended: boolean;
}

/** The expected state of the cache: a few maps without bound, eviction or hashing. */
export interface Model {
  bound: number;
  /** The bound was exceeded at some time. Then a token may be missing, but never wrong. */
  pressed: boolean;
  readonly kept: Map<string, { token: ModelToken; attemptMs: number }>;
  readonly flights: Map<string, Flight>;
  readonly refusals: Map<string, { atMs: number; code: ErrorCode }>;
  /** The last token that was returned for a key. */
  readonly given: Map<string, ModelToken>;
  readonly tokens: Map<string, ModelToken>;
  /** When a key last lost its token because of a report of the upstream. */
  readonly refusedMs: Map<string, number>;
  readonly openedMs: Map<string, number>;
  readonly endedMs: Map<string, number>;
}

export interface Real extends BrokerSetup {
  readonly callerOf: (name: string, old: boolean) => Caller;
}

export const MAX_AGE_MS = 300_000;

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
export const resourceOf = (route: Route): string => (route.name === 'same' ? 'github' : route.name);

export function keyOf(route: Route, caller: string, id: string | undefined): string {
  return isOwn(route) ? 'own' : JSON.stringify([caller, id ?? null, resourceOf(route)]);
}

export function refusalKeyOf(route: Route, caller: string): string {
  return JSON.stringify([caller, resourceOf(route)]);
}

export function setUpModel(bound: number, random: number): { model: Model; real: Real } {
  const setup = setUpBroker({ maxEntries: bound, maxAgeMs: MAX_AGE_MS });
  setup.random = random;
  const model: Model = {
    bound,
    pressed: false,
    kept: new Map(),
    flights: new Map(),
    refusals: new Map(),
    given: new Map(),
    tokens: new Map(),
    refusedMs: new Map(),
    openedMs: new Map(),
    endedMs: new Map(),
  };
  return { model, real: Object.assign(setup, { callerOf: createCallers(setup.clock) }) };
}

/** Creates each subject token once. */
function createCallers(clock: FakeClock): Real['callerOf'] {
  const startMs = clock.wallMs();
  const made = new Map<string, Caller>();
  return (name, old) => {
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
