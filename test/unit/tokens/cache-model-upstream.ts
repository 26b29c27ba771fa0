import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isOwn, keep, keptUnder, keyOf, type Model, type Real } from './cache-model.ts';
import { command, nameOf, who } from './cache-model-command.ts';

/** What an upstream says takes a key its token at most this often. */
const PAUSE_MS = 10_000;

/** Was it a moment ago that the upstream last took this key its token? If not, it is now. */
function isPaused(lastMs: Map<string, number>, key: string, { clock }: Real): boolean {
  const nowMs = clock.monotonicMs();
  if (nowMs < (lastMs.get(key) ?? Number.NEGATIVE_INFINITY) + PAUSE_MS) return true;
  lastMs.set(key, nowMs);
  return false;
}

/** The upstream says 401 to the last token that was given out, however old that is. */
export const refuse = who.map((one) =>
  command(`refuse(${nameOf(one)})`, (model, real) => {
    const { name, subject } = real.callerOf(one.caller, false);
    const key = keyOf(one.route, name, one.id);
    const token = model.given.get(key);
    if (token?.issued === undefined) return;
    const isCurrent = keptUnder(model, key, real.clock)?.token === token;
    const stays = isCurrent && isPaused(model.refusedMs, key, real);
    const renewable = real.broker.refuse(one.route, { subject, id: one.id }, token.issued);
    assert.ok(
      renewable === !stays || model.pressed,
      'another is asked for once in ten seconds, and not more or less often',
    );
    if (!renewable) return;
    token.refusedUnder.add(key);
    if (isCurrent) model.kept.delete(key);
  }),
);

/** The upstream answers a request without session id with one. */
export const openSession = fc.record({ who, id: fc.constantFrom('s1', 's2') }).map(({ who: one, id }) =>
  command(`open(${nameOf({ ...one, id: undefined })} as ${id})`, (model, real) => {
    const { name, subject } = real.callerOf(one.caller, false);
    const from = keyOf(one.route, name, undefined);
    const to = keyOf(one.route, name, id);
    const token = model.given.get(from);
    if (token?.issued === undefined) return;
    real.broker.openSession(one.route, { subject, id: undefined }, id, token.issued);
    if (isOwn(one.route) || token.refusedUnder.size > 0) return;
    const isCurrent = keptUnder(model, from, real.clock)?.token === token;
    if (isCurrent && !isPaused(model.openedMs, from, real)) model.kept.delete(from);
    if (keptUnder(model, to, real.clock) === undefined) keep(model, to, token, real.clock);
    // What the session had may have been evicted, and then this takes its place.
    else if (model.pressed) token.keys.add(to);
  }),
);

/** The client ends its session, or the upstream says that there is none. */
export const endSession = fc
  .record({ who, id: fc.constantFrom('s1', 's2'), by: fc.constantFrom('client' as const, 'upstream' as const) })
  .map(({ who: one, id, by }) =>
    command(`end(${nameOf({ ...one, id })}, ${by})`, (model, real) => {
      const { name, subject } = real.callerOf(one.caller, false);
      real.broker.endSession(one.route, { subject, id }, by);
      if (!isOwn(one.route)) end(model, real, keyOf(one.route, name, id), by);
    }),
  );

function end(model: Model, real: Real, key: string, by: 'client' | 'upstream'): void {
  const flight = model.flights.get(key);
  if (flight === undefined && keptUnder(model, key, real.clock) === undefined) return;
  if (by === 'upstream' && isPaused(model.endedMs, key, real)) return;
  model.kept.delete(key);
  if (flight !== undefined) flight.ended = true;
}
