import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isOwn, keep, keptUnder, keyOf, type Model, type Real } from './cache-model.ts';
import { command, nameOf, requester } from './cache-model-command.ts';

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
export const refuse = requester.map((one) =>
  command(`refuse(${nameOf(one)})`, (model, real) => {
    const { name, subject } = real.callerOf(one.caller, false);
    const key = keyOf(one.route, name, one.id);
    const token = model.given.get(key);
    if (token?.issued === undefined) return;
    const isCurrent = keptUnder(model, key, real.clock)?.token === token;
    const stays = isCurrent && isCoolingDown(model.refusedMs, key, real);
    const renewable = real.broker.refuse(one.route, { subject, id: one.id }, token.issued);
    assert.ok(renewable === !stays || model.pressed, 'a refused token is replaced exactly once in ten seconds');
    if (!renewable) return;
    token.refusedUnder.add(key);
    if (isCurrent) model.kept.delete(key);
  }),
);

/** The upstream opens a session for a request without a session id. */
export const openSession = fc.record({ requester, id: fc.constantFrom('s1', 's2') }).map(({ requester: one, id }) =>
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
export const endSession = fc
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
