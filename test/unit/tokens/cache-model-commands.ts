import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { checkExpiry } from '../../../src/tokens/subject.ts';
import { CALLERS, isLive, isOwn, keptUnder, keyOf } from './cache-model.ts';
import { type Command, command, mostly, nameOf, requester } from './cache-model-command.ts';
import { assertLookup } from './cache-model-look-up.ts';
import { type ServerResponse, settleFlight } from './cache-model-settle.ts';
import { endSession, openSession, refuse } from './cache-model-upstream.ts';
import { settle } from './sample.ts';

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
    if (model.kept.size > bound || model.refusals.size > bound) model.pressed = true;
  }),
);

const often = (times: number, arbitrary: fc.Arbitrary<Command>): fc.Arbitrary<Command>[] =>
  Array.from({ length: times }, () => arbitrary);

export const COMMANDS: fc.Arbitrary<Command>[] = [
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
