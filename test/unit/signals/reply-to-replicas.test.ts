import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { newId, readReply, writeReply } from '../../../src/signals/replica-wire.ts';
import { createReplier, type ReplierOptions } from '../../../src/signals/reply-to-replicas.ts';
import { DIGESTS_LENGTH } from '../../../src/signals/revocation-parts.ts';
import type { RevocationEntry } from '../../../src/tokens/revocation-list.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

/** A replier whose replies take 300 ms, and the questions to which it has replied. */
function start(t: TestContext, { replies = 'soon' as ReturnType<ReplierOptions['replies']>, delayMs = 0 } = {}) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const clock = createFakeClock();
  const replied: string[] = [];
  const list: RevocationEntry[] = [];
  const sent: number[] = [];
  const replier = createReplier({
    messages: {
      async publish(_topic, payload) {
        replied.push(...(payload as { to: string[] }).to);
        sent.push(readReply(payload)?.entries.length ?? -1);
        clock.advance(300);
        return true;
      },
    },
    known: () => ({ list: () => list, restore: () => 0 }),
    replies: () => replies,
    clock,
    random: () => delayMs / 250,
  });
  t.after(replier.close);
  return {
    replier,
    replied,
    list,
    /** Number of revocations in each message. */
    sent,
    /** @param earlier ids under which the same replica has asked before */
    ask(earlier: readonly string[] = []): string {
      const id = newId();
      replier.asked({ id, earlier, digests: 'd'.repeat(DIGESTS_LENGTH), heard: [] });
      return id;
    },
    /** The event loop is busy until then, so that a timer is late. */
    stall: (ms: number) => clock.advance(ms),
    async pass(ms: number, meanwhile = () => {}): Promise<void> {
      clock.advance(ms);
      t.mock.timers.tick(ms);
      meanwhile();
      // Digests are made in many turns of the event loop.
      for (let turn = 0; turn < 100; turn += 1) await setImmediate();
    },
  };
}

test('does not reply to a question to which another replica replied', async (t) => {
  const { replier, replied, ask, pass } = start(t, { delayMs: 100 });
  const [first, second] = [ask(), ask()];
  replier.replied(writeReply({ id: newId(), to: [first], index: 0, count: 1, parts: [], entries: [] }));
  await pass(100);
  assert.deepEqual(replied, [second]);
});

test('replies half a second later while it may have missed revocations itself', async (t) => {
  const { replied, ask, pass } = start(t, { replies: 'late' });
  const question = ask();
  await pass(499);
  assert.deepEqual(replied, []);
  await pass(1);
  assert.deepEqual(replied, [question]);
});

test('rests for twice as long as a reply took', async (t) => {
  const { replied, ask, pass } = start(t);
  const first = ask();
  await pass(0);
  const second = ask();
  await pass(599);
  assert.deepEqual(replied, [first]);
  await pass(1);
  assert.deepEqual(replied, [first, second]);
});

test('replies to a question with what it knew when that was asked, and not before', async (t) => {
  const { replied, sent, list, ask, pass } = start(t);
  const first = ask();
  let [second, repeated] = ['', ''];
  await pass(0, () => {
    list.push({ key: hash('sha256', 'alice', 'base64url'), issuer: 'https://idp.example.com', atMs: 1 });
    second = ask();
    repeated = ask([first]);
  });
  assert.deepEqual([replied, sent], [[repeated], [0]]);
  await pass(600);
  assert.deepEqual(
    [replied, sent],
    [
      [repeated, second],
      [0, 1],
    ],
  );
});

test('replies once to a question that was repeated', async (t) => {
  const { replier, replied, ask, pass } = start(t, { delayMs: 100 });
  const first = ask();
  const second = ask([first]);
  const third = ask([first, second]);
  assert.deepEqual(replier.heard(), [third]);
  await pass(100);
  assert.deepEqual(replied, [third]);
});

test('does not reply to a repeated question whose earlier id got a reply', async (t) => {
  const { replier, replied, ask, pass } = start(t, { delayMs: 100 });
  const first = ask();
  ask([first]);
  replier.replied(writeReply({ id: newId(), to: [first], index: 0, count: 1, parts: [], entries: [] }));
  await pass(100);
  assert.deepEqual(replied, []);
});

test('ignores an earlier id that arrives after a later one', async (t) => {
  const { replier, replied, ask, pass } = start(t);
  const first = newId();
  const second = ask([first]);
  replier.asked({ id: first, earlier: [], digests: 'd'.repeat(DIGESTS_LENGTH), heard: [] });
  await pass(0);
  assert.deepEqual(replied, [second]);
});

test('replies to a question as long as its replica waits, however late its own timer is', async (t) => {
  const { replied, ask, stall, pass } = start(t, { replies: 'late', delayMs: 250 });
  const question = ask();
  stall(11_250);
  await pass(750);
  assert.deepEqual(replied, [question]);
});

test('does not reply to a question whose replica waits no more', async (t) => {
  const { replied, ask, stall, pass } = start(t);
  ask();
  stall(12_001);
  await pass(0);
  assert.deepEqual(replied, []);
});
