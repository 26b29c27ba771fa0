import assert from 'node:assert/strict';
import type { Route } from '../../../src/config/config.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import type { IssuedToken } from '../../../src/tokens/issued.ts';
import type { Subject } from '../../../src/tokens/subject.ts';
import type { FakeClock } from '../../harness/fake-clock.ts';
import { exchangeOf, routeOf, serverOf, subjectOf, targetOf } from './sample.ts';
import { type BrokerSetup, type ScriptedRequest, setUpBroker } from './scripted-endpoint.ts';

/** Who calls, with the token of now: each has a new one when the last has ended, as a caller of good will does. */
export interface Caller {
  readonly name: string;
  readonly subject: Subject;
}

/** Everything that the model knows of a token that was issued. */
export interface ModelToken {
  readonly text: string;
  readonly issued: IssuedToken | undefined;
  readonly caller: string;
  readonly resource: string;
  /** Keys that it may be found under. */
  readonly keys: Set<string>;
  /** Ends that others set: on the monotonic clock, and on the wall. */
  readonly endMs: number;
  readonly wallEndMs: number;
  readonly arrivedMs: number;
  readonly reusableUntilMs: number;
  /** Does the subject token outlive it? */
  readonly refreshable: boolean;
  /** Keys under which its backend refused it. */
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

/** What the cache is held to: a few maps without bound, eviction or hashing. */
export interface Model {
  bound: number;
  /** Was there ever more than the bound allows? Then a token may be missing, but never wrong. */
  pressed: boolean;
  readonly kept: Map<string, { token: ModelToken; attemptMs: number }>;
  readonly flights: Map<string, Flight>;
  readonly refusals: Map<string, { atMs: number; code: ErrorCode }>;
  /** The last token that was given out under a key. */
  readonly given: Map<string, ModelToken>;
  readonly tokens: Map<string, ModelToken>;
  /** When a key last lost its token because of what the upstream said. */
  readonly refusedMs: Map<string, number>;
  readonly openedMs: Map<string, number>;
  readonly endedMs: Map<string, number>;
}

export interface Real extends BrokerSetup {
  readonly callerOf: (name: string, old: boolean) => Caller;
}

export const MAX_AGE_MS = 300_000;

const LIVES_MS: Record<string, number> = { alice: Number.POSITIVE_INFINITY, bob: 400_000, carol: 60_000 };
export const CALLERS = Object.keys(LIVES_MS);

const github = targetOf({ expectAudience: ['backend'] });
const docs = targetOf({ audience: ['docs'], expectAudience: ['backend'] });
/** Two routes for one resource, one for another, and one whose token is for all. */
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

/** Subject tokens, each made once: the same text is the same caller. */
function createCallers(clock: FakeClock): Real['callerOf'] {
  const startMs = clock.wallMs();
  const made = new Map<string, Caller>();
  return (name, old) => {
    const lifeMs = LIVES_MS[name] ?? 0;
    const now = Number.isFinite(lifeMs) ? Math.floor((clock.wallMs() - startMs) / lifeMs) : 0;
    const generation = old ? now - 1 : now;
    const full = `${name}-${generation}`;
    const endMs = Number.isFinite(lifeMs) ? startMs + (generation + 1) * lifeMs : undefined;
    const caller = made.get(full) ?? { name: full, subject: subjectOf(full, endMs) };
    made.set(full, caller);
    return caller;
  };
}

/** May this token still be given out? Both clocks must allow it. */
export function isLive(token: ModelToken, clock: FakeClock): boolean {
  return clock.monotonicMs() < token.reusableUntilMs && clock.wallMs() < token.wallEndMs;
}

/** Forgets what has ended, as a look-up does. */
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

/** What holds after each step, whatever it was. */
export function assertInvariants(model: Model, real: Real): void {
  assert.ok(real.cache.size <= model.bound, `${real.cache.size} entries, and ${model.bound} are allowed`);
  const answered = real.outcomes.length;
  assert.equal(real.requests.length - answered, model.flights.size, 'one exchange under way for each key that waits');
}
