import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readEntries, toWire } from '../../../src/signals/revocation-wire.ts';
import type { KeyedRequest } from '../../../src/tokens/session.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import type { MemoryStore } from '../../harness/memory-store.ts';
import { exchangeOf as exchangeCredential, routeOf, serverOf } from '../tokens/sample.ts';
import { allRecords, bearer, entryOf, issued, namesOf, released, removed, startAlone, startPair } from './replica.ts';

const index = fc.nat({ max: 1000 });
/** An act of an attacker who owns the server. Numbers choose among what is there. */
const act = fc.record({
  kind: fc.constantFrom('swap', 'swap', 'copy', 'alter', 'delete', 'replay', 'flood', 'restore'),
  at: index,
  other: index,
  text: fc.oneof(fc.constantFrom('A', '_', '', '='), fc.string({ maxLength: 60 })),
});

type Act = typeof act extends fc.Arbitrary<infer Each> ? Each : never;

/** Everything that the attacker ever saw, and the map that it changes. */
function attackerOf(values: () => Map<string, string>) {
  const seen: string[] = [];
  const first = new Map<string, string>();
  return {
    look() {
      for (const [name, value] of values()) {
        if (!first.has(name)) first.set(name, value);
        if (!seen.includes(value)) seen.push(value);
      }
    },
    restore() {
      for (const [name, value] of first) values().set(name, value);
    },
    do({ kind, at, other, text }: Act) {
      if (kind === 'restore') return this.restore();
      const map = values();
      // A replica's own keys have no content.
      const names = [...map.keys()].filter((each) => !each.includes(':self:'));
      const pick = (list: readonly string[], index: number): string => list[index % Math.max(1, list.length)] ?? '';
      const [name, second] = [pick(names, at), pick(names, other)];
      const value = map.get(name);
      if (value === undefined) return;
      const position = other % Math.max(1, value.length);
      if (kind === 'swap') map.set(name, map.get(second) ?? '');
      if (kind === 'swap' || kind === 'copy') map.set(second, value);
      if (kind === 'alter') map.set(name, value.slice(0, position) + text + value.slice(position + 1));
      if (kind === 'delete') map.delete(name);
      if (kind === 'replay') map.set(name, pick(seen, other));
      if (kind === 'flood') for (const each of names) map.set(each, text);
    },
  };
}

const OTHER = routeOf({ credential: exchangeCredential({ authorizationServer: serverOf({ clientId: 'other' }) }) });
const WHO = ['alice', 'bob', 'alice at another route', "alice's session"] as const;
type Who = (typeof WHO)[number];
const ENTRIES: Readonly<Record<Who, KeyedRequest>> = {
  alice: entryOf({ token: 'alice' }),
  bob: entryOf({ token: 'bob' }),
  'alice at another route': entryOf({ token: 'alice', route: OTHER }),
  "alice's session": entryOf({ token: 'alice', session: 'one' }),
};

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ who: fc.constantFrom(...WHO), replica: fc.nat({ max: 1 }) }) },
  { weight: 3, arbitrary: act },
  { weight: 1, arbitrary: fc.record({ passMs: fc.integer({ min: 1000, max: 60_000 }) }) },
);

/** The locks are free, because an attacker who plants or replays them delays a token for seconds, and no more. */
function freeLocks(server: MemoryStore): void {
  for (const name of namesOf(server, 'l')) server.values.delete(name);
}

test('an attacker at the server changes nothing but the number of exchanges', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 15, size: 'max' }), async (steps) => {
      const clock = createFakeClock();
      const { server, one, other } = await startPair(t, { clock });
      const replicas = [one, other];
      const attacker = attackerOf(() => server.values);
      /** When each token was issued, by its text. */
      const issuedAt = new Map<string, { readonly who: Who; readonly atMs: number }>();
      const first = WHO.map((who) => ({ who, replica: 0 }));
      for (const each of [...first, ...steps]) {
        attacker.look();
        if ('passMs' in each) clock.advance(each.passMs);
        else if ('kind' in each) attacker.do(each);
        else {
          freeLocks(server);
          const exchange = async () => {
            const text = `token-${issuedAt.size}`;
            issuedAt.set(`Bearer ${text}`, { who: each.who, atMs: clock.monotonicMs() });
            return issued(text, clock);
          };
          const found = await replicas[each.replica]?.second.obtain(ENTRIES[each.who], exchange, undefined);
          const of = issuedAt.get(found === undefined ? '' : bearer(found));
          assert.equal(of?.who, each.who);
          assert.ok(clock.monotonicMs() - (of?.atMs ?? 0) < 100_000, 'it is not expired');
          // Its value is written in the background.
          await new Promise(setImmediate);
          await released(server);
        }
      }
      for (const { store } of replicas) store.close();
    }),
    { numRuns: 60 },
  );
});

test('a refused token never comes back, whatever the server does', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 10 }), async (acts) => {
      const { server, second, store, share, obtain } = await startAlone(t);
      const entry = ENTRIES.alice;
      const refused = await share('refused', entry);
      const attacker = attackerOf(() => server.values);
      attacker.look();
      second.dropRefused(entry, refused.token);
      await removed(server);
      for (const each of acts) attacker.do(each);
      attacker.restore();
      freeLocks(server);
      assert.equal(bearer(await obtain('next', entry)), 'Bearer next-1');
      store.close();
    }),
    { numRuns: 40 },
  );
});

const keyed = fc.constantFrom('a', 'b', 'c', 'd', 'e').map((letter) => letter.repeat(43));
const told = fc.array(fc.record({ key: keyed, ago: fc.integer({ min: 0, max: 3600 }) }), { maxLength: 8 });

test('an attacker at the server adds no revocation, prolongs none, and dates none later', async (t) => {
  await fc.assert(
    fc.asyncProperty(told, fc.array(act, { maxLength: 20 }), async (entries, acts) => {
      const clock = createFakeClock();
      const { server, ...one } = await startAlone(t, { clock });
      const attacker = attackerOf(() => [...server.records.values()][0] ?? new Map<string, string>());
      const latest = new Map<string, number>();
      for (const { key, ago } of entries) {
        const entry = { key, issuer: 'https://idp.example.com', atMs: clock.wallMs() - ago * 1000 };
        await one.records.keep(key, toWire(entry), entry.atMs + 7_200_000);
        latest.set(key, Math.max(latest.get(key) ?? 0, entry.atMs));
        attacker.look();
      }
      const complete = readEntries((await allRecords(one.records))?.payloads);
      assert.deepEqual(new Map(complete.map(({ key, atMs }) => [key, atMs])), latest);
      for (const each of acts) attacker.do(each);
      const [set] = [...server.sets.values()];
      for (const id of [...(set?.keys() ?? [])]) set?.set(id, Number.MAX_SAFE_INTEGER);
      for (const { key, atMs } of readEntries((await allRecords(one.records))?.payloads)) {
        assert.ok(atMs <= (latest.get(key) ?? Number.NEGATIVE_INFINITY), key);
      }
      clock.advance(7_200_001);
      assert.deepEqual((await allRecords(one.records))?.payloads, []);
      one.store.close();
    }),
    { numRuns: 100 },
  );
});

test('an attacker at the channel delivers only what a replica said in the last minute', async (t) => {
  await fc.assert(
    fc.asyncProperty(told, fc.array(act, { maxLength: 20 }), async (entries, acts) => {
      const clock = createFakeClock();
      const { server, one, other } = await startPair(t, { clock });
      const said = entries.map(({ key, ago }) => [key, 'https://idp.example.com', ago]);
      for (const entry of said) await one.messages.publish('revoked', [entry]);
      const sent = server.messages.filter(({ channel }) => channel.endsWith(':messages'));
      const [{ channel = '' } = {}] = sent;
      const map = new Map(sent.map(({ message }, at) => [String(at), message]));
      const attacker = attackerOf(() => map);
      attacker.look();
      const got: unknown[] = [];
      other.messages.on('revoked', (payload) => got.push(payload));
      for (const each of acts) attacker.do(each);
      for (const message of map.values()) server.deliver(channel, message);
      const known = new Set(said.map((entry) => JSON.stringify([entry])));
      for (const payload of got) assert.ok(known.has(JSON.stringify(payload)));
      got.length = 0;
      clock.advance(66_000);
      for (const message of map.values()) server.deliver(channel, message);
      assert.deepEqual(got, []);
      for (const { store } of [one, other]) store.close();
    }),
    { numRuns: 60 },
  );
});
