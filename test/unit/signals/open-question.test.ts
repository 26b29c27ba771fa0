import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openQuestion } from '../../../src/signals/open-question.ts';
import { newId } from '../../../src/signals/replica-wire.ts';

/** A question that ends after 100 ms without anything new, by a clock of the test. */
function ask(t: TestContext, trustsAlone = false) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const question = openQuestion(trustsAlone);
  const first = newId();
  question.repeat(first);
  const messageOf = (replica: string, index: number, count: number) => {
    return { id: replica, to: [first], index, count, parts: [index], entries: [] };
  };
  const wait = () => question.wait(100, 1);
  return { question, first, messageOf, wait, tick: (ms: number) => t.mock.timers.tick(ms) };
}

test('each new message of a reply gives the rest more time', async (t) => {
  const { question, messageOf, wait, tick } = ask(t);
  const replica = newId();
  const waiting = wait();
  for (const index of [2, 0, 1]) {
    tick(99);
    question.take(messageOf(replica, index, 3));
  }
  const end = await waiting;
  assert.deepEqual(typeof end === 'object' && [...end.reply.parts], [2, 0, 1]);
});

test('a replayed message does not delay the end', async (t) => {
  const { question, messageOf, wait, tick } = ask(t);
  const waiting = wait();
  const message = messageOf(newId(), 0, 2);
  question.take(message);
  tick(99);
  question.take(message);
  tick(1);
  assert.equal(await waiting, 'no_reply');
});

test('ignores the replies of more than 16 replicas that reply at the same time', async (t) => {
  const { question, messageOf, wait } = ask(t);
  for (let i = 0; i < 16; i += 1) question.take(messageOf(newId(), 0, 2));
  question.take(messageOf(newId(), 0, 1));
  question.cancel();
  assert.equal(await wait(), 'no_reply');
});

test('takes the reply of another replica in place of 16 that stopped during theirs', async (t) => {
  const { question, messageOf, wait } = ask(t);
  for (let i = 0; i < 16; i += 1) question.take(messageOf(newId(), 0, 2));
  question.repeat(newId());
  question.take(messageOf(newId(), 0, 1));
  assert.equal(typeof (await wait()), 'object');
});

test('a reply to an earlier id counts, whether it arrives during a wait or between two', async (t) => {
  for (const isWaiting of [true, false]) {
    const { question, messageOf, wait, tick } = ask(t);
    const [replica, first] = [newId(), wait()];
    question.take(messageOf(replica, 0, 2));
    tick(100);
    assert.equal(await first, 'no_reply');
    question.repeat(newId());
    const second = isWaiting ? wait() : undefined;
    question.take(messageOf(replica, 1, 2));
    assert.equal(typeof (await (second ?? wait())), 'object');
    t.mock.timers.reset();
  }
});

test('ignores a reply to another question', async (t) => {
  const { question, messageOf, wait } = ask(t);
  question.take({ ...messageOf(newId(), 0, 1), to: [newId()] });
  question.cancel();
  assert.equal(await wait(), 'no_reply');
});

test('a replica that heard an earlier id may have stopped, so it makes no other one believe that it is alone', async (t) => {
  const { question, first, wait, tick } = ask(t, true);
  const second = newId();
  question.repeat(second);
  const waiting = wait();
  question.hear(newId(), [first]);
  assert.equal(question.isHeard, true);
  tick(99);
  question.hear(newId(), [first, second]);
  assert.equal(await waiting, 'alone');
});
