import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openQuestion } from '../../../src/signals/open-question.ts';
import { newId } from '../../../src/signals/replica-wire.ts';

/** A question that ends after 100 ms without anything new, by a clock of the test. */
function ask(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const question = openQuestion(newId(), false);
  question.waitFor(100, undefined);
  const messageOf = (replica: string, index: number, count: number) => {
    return { id: replica, to: [question.id], index, count, parts: [index], entries: [] };
  };
  return { question, messageOf, tick: (ms: number) => t.mock.timers.tick(ms) };
}

test('each new message of a reply gives the rest more time', async (t) => {
  const { question, messageOf, tick } = ask(t);
  const replica = newId();
  for (const index of [2, 0, 1]) {
    tick(99);
    question.take(messageOf(replica, index, 3));
  }
  const end = await question.ended;
  assert.deepEqual(typeof end === 'object' && [...end.reply.parts], [2, 0, 1]);
});

test('a replayed message does not delay the end', async (t) => {
  const { question, messageOf, tick } = ask(t);
  const message = messageOf(newId(), 0, 2);
  question.take(message);
  tick(99);
  question.take(message);
  tick(1);
  assert.equal(await question.ended, 'no_reply');
});

test('ignores the replies of more than 16 replicas', async (t) => {
  const { question, messageOf } = ask(t);
  for (let i = 0; i < 16; i += 1) question.take(messageOf(newId(), 0, 2));
  question.take(messageOf(newId(), 0, 1));
  question.cancel();
  assert.equal(await question.ended, 'no_reply');
});
