import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Route } from '../../../src/config/route.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { checkExpiry } from '../../../src/tokens/subject.ts';
import { propertyRuns } from '../../harness/property-runs.ts';
import {
  assertInvariants,
  assertLookup,
  CALLERS,
  isLive,
  isOwn,
  keep,
  keptUnder,
  keyOf,
  type Model,
  type Real,
  ROUTES,
  type ServerResponse,
  settleFlight,
  setUpModel,
} from './cache-model.ts';
import { settle } from './sample.ts';

type Command = fc.AsyncCommand<Model, Real>;

/** A command that checks the invariants after each run. */
function command(name: string, run: (model: Model, real: Real) => Promise<void> | void): Command {
  return {
    check: () => true,
    toString: () => name,
    async run(model, real) {
      await run(model, real);
      await settle();
      assertInvariants(model, real);
    },
  };
}

/** Chooses the first value more often, so that callers meet. */
function mostly<T>(first: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.constantFrom(...others.flatMap(() => first), first, ...others);
}

const requester = fc.record({
  caller: mostly(...(CALLERS as [string, ...string[]])),
  id: mostly<string | undefined>(undefined, 's1', 's2'),
  route: mostly(...(ROUTES as [Route, ...Route[]])),
});

const nameOf = ({ caller, id, route }: { caller: string; id: string | undefined; route: Route }): string =>
  `${caller}/${id ?? '-'} on ${route.name}`;

/** Minimum time between two reports of an upstream that take a token from a key. */
const COOLDOWN_MS = 10_000;

/** Tells whether the cooldown of a key is running. Starts it if it is not. */
function isCoolingDown(lastMs: Map<string, number>, key: string, { clock }: Real): boolean {
  const nowMs = clock.monotonicMs();
  if (nowMs < (lastMs.get(key) ?? Number.NEGATIVE_INFINITY) + COOLDOWN_MS) return true;
  lastMs.set(key, nowMs);
  return false;
}

/** The upstream responds with 401 to the last token that was returned, however old it is. */
const refuse = requester.map((one) =>
  command(`refuse(${nameOf(one)})`, (model, real) => {
    const { name, subject } = real.callerOf(one.caller, false);
    const key = keyOf(one.route, name, one.id);
    const token = model.given.get(key);
    if (token?.issued === undefined) return;
    const isCurrent = keptUnder(model, key, real.clock)?.token === token;
    const stays = isCurrent && isCoolingDown(model.refusedMs, key, real);
    const renewable = real.broker.dropRefused(one.route, { subject, id: one.id }, token.issued);
    assert.ok(renewable === !stays || model.pressed, 'a refused token is replaced exactly once in ten seconds');
    if (!renewable) return;
    token.refusedUnder.add(key);
    if (isCurrent) model.kept.delete(key);
  }),
);

/** The upstream opens a session for a request without a session id. */
const openSession = fc.record({ requester, id: fc.constantFrom('s1', 's2') }).map(({ requester: one, id }) =>
  command(`open(${nameOf({ ...one, id: undefined })} as ${id})`, (model, real) => {
    const { name, subject } = real.callerOf(one.caller, false);
    const from = keyOf(one.route, name, undefined);
    const to = keyOf(one.route, name, id);
    const token = model.given.get(from);
    if (token?.issued === undefined) return;
    real.broker.openSession(one.route, { subject, id: undefined }, id, token.issued);
    if (isOwn(one.route) || token.refusedUnder.size > 0) return;
    const isCurrent = keptUnder(model, from, real.clock)?.token === token;
    if (isCurrent && !isCoolingDown(model.openedMs, from, real)) model.kept.delete(from);
    if (keptUnder(model, to, real.clock) === undefined) keep(model, to, token, real.clock);
    // The session's own token may have been evicted, and then this one replaces it.
    else if (model.pressed) token.keys.add(to);
  }),
);

/** The client ends its session, or the upstream reports that it does not exist. */
const endSession = fc
  .record({ requester, id: fc.constantFrom('s1', 's2'), by: fc.constantFrom('client' as const, 'upstream' as const) })
  .map(({ requester: one, id, by }) =>
    command(`end(${nameOf({ ...one, id })}, ${by})`, (model, real) => {
      const { name, subject } = real.callerOf(one.caller, false);
      real.broker.endSession(one.route, { subject, id }, by);
      if (!isOwn(one.route)) end(model, real, keyOf(one.route, name, id), by);
    }),
  );

function end(model: Model, real: Real, key: string, by: 'client' | 'upstream'): void {
  const flight = model.flights.get(key);
  if (flight === undefined && keptUnder(model, key, real.clock) === undefined) return;
  if (by === 'upstream' && isCoolingDown(model.endedMs, key, real)) return;
  model.kept.delete(key);
  if (flight !== undefined) flight.ended = true;
}

const issue: fc.Arbitrary<ServerResponse> = fc.record({
  kind: fc.constant('issue' as const),
  expiresIn: mostly<number | 'unknown'>(60, 5, 3600, 'unknown', 1, 0),
  exp: mostly(undefined, 3600, 60, 5, -60),
  audience: mostly('backend', 'backend', 'backend', 'elsewhere'),
});
const fail: fc.Arbitrary<ServerResponse> = fc
  .constantFrom<ErrorCode[]>(
    'ERR_SUBJECT_TOKEN_INVALID',
    'ERR_EXCHANGE_REFUSED',
    'ERR_INTERACTION_REQUIRED',
    'ERR_STS_UNAVAILABLE',
    'ERR_STS_UNAVAILABLE',
    'ERR_CLIENT_REFUSED',
  )
  .map((code) => ({ kind: 'fail', code }));
const response = fc.oneof({ weight: 4, arbitrary: issue }, { weight: 1, arbitrary: fail });

/** A lookup, which the authorization server may respond to at once. With `old`, the caller sends its previous token. */
const lookUp = fc
  .record({ requester, old: mostly(false, true, true), immediate: fc.option(response, { freq: 4 }) })
  .map(({ requester: { caller, id, route }, old, immediate }) =>
    command(
      `lookUp(${nameOf({ caller, id, route })}${old ? ', old' : ''}, ${JSON.stringify(immediate)})`,
      async (model, real) => {
        const { name, subject } = real.callerOf(caller, old);
        if (!isOwn(route)) {
          try {
            checkExpiry(subject, real.clock);
          } catch (error) {
            assert.ok(error instanceof CambistError && real.clock.wallMs() > (subject.expiresAtMs ?? Infinity));
            return;
          }
        }
        const before = real.requests.length;
        const lookup = real.broker.lookUp(route, { subject, id });
        await settle();
        const key = keyOf(route, name, id);
        assertLookup(model, real, { key, caller: name, subject, route }, lookup, real.requests.slice(before));
        if (immediate !== null && model.flights.has(key)) await settleFlight(model, real, key, immediate);
      },
    ),
  );

const respond = fc.record({ pick: fc.nat(), response }).map(({ pick, response: chosen }) =>
  command(`respond(${pick}, ${JSON.stringify(chosen)})`, async (model, real) => {
    const keys = [...model.flights.keys()];
    const key = keys[pick % keys.length];
    if (key !== undefined) await settleFlight(model, real, key, chosen);
  }),
);

const advance = fc
  .oneof(
    { weight: 4, arbitrary: fc.integer({ min: 1, max: 5000 }) },
    { weight: 4, arbitrary: fc.integer({ min: 1, max: 60_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 400_000 }) },
  )
  .map((ms) => command(`advance(${ms})`, (_model, real) => real.clock.advance(ms)));

const jumpWall = fc
  .oneof(fc.integer({ min: -60_000, max: 60_000 }), fc.integer({ min: -3_600_000, max: 3_600_000 }))
  .map((ms) => command(`jumpWall(${ms})`, (_model, real) => real.clock.jumpWall(ms)));

/** Sets the wall clock to the time just after a caller's token expired. */
const jumpToExpiry = fc
  .record({ caller: fc.constantFrom(...CALLERS), ms: fc.integer({ min: 0, max: 5000 }) })
  .map(({ caller, ms }) =>
    command(`jumpToExpiry(${caller}, ${ms})`, (_model, real) => {
      const expiresAtMs = real.callerOf(caller, false).subject.expiresAtMs;
      if (expiresAtMs !== undefined) real.clock.jumpWall(expiresAtMs + ms - real.clock.wallMs());
    }),
  );

const sweep = fc.constant(
  command('sweep()', (model, real) => {
    real.cache.sweep();
    for (const [key, { token }] of model.kept) if (!isLive(token, real.clock)) keptUnder(model, key, real.clock);
  }),
);

const resize = fc.integer({ min: 1, max: 60 }).map((bound) =>
  command(`resize(${bound})`, (model, real) => {
    real.cache.resize(bound);
    model.bound = bound;
    model.refusals.clear();
    if (model.kept.size > bound) model.pressed = true;
  }),
);

const often = (times: number, arbitrary: fc.Arbitrary<Command>): fc.Arbitrary<Command>[] =>
  Array.from({ length: times }, () => arbitrary);

const COMMANDS: fc.Arbitrary<Command>[] = [
  ...often(12, lookUp),
  ...often(3, respond),
  ...often(6, advance),
  ...often(2, refuse),
  ...often(2, openSession),
  jumpWall,
  jumpToExpiry,
  endSession,
  sweep,
  resize,
];

const RUNS = propertyRuns(200);

test('the cache behaves like its model for any sequence of events', async () => {
  const setUp = fc.record({
    bound: fc.constantFrom(1, 3, 8, 60, 60),
    random: fc.double({ min: 0, max: 1, noNaN: true }),
    commands: fc.commands(COMMANDS, { maxCommands: 200, size: 'max' }),
  });
  await fc.assert(
    fc.asyncProperty(setUp, async ({ bound, random, commands }) => {
      let last: ReturnType<typeof setUpModel> | undefined;
      await fc.asyncModelRun(() => {
        last = setUpModel(bound, random);
        return last;
      }, commands);
      if (last === undefined) return;
      // No caller is left waiting.
      const { model, real } = last;
      for (const key of [...model.flights.keys()]) {
        await settleFlight(model, real, key, { kind: 'fail', code: 'ERR_STS_UNAVAILABLE' });
      }
    }),
    { numRuns: RUNS },
  );
});
