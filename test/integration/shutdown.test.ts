import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { sendAnswer } from '../harness/faults.ts';
import { startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw, open } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';
import { eventStream } from '../harness/upstream-handlers.ts';

/** An upstream that answers when the test says so. */
function onCue() {
  let go = (): void => {};
  const cue = new Promise<void>((resolve) => {
    go = resolve;
  });
  return {
    go: () => go(),
    handler: async (_received: unknown, response: Parameters<typeof sendAnswer>[0]) => {
      await cue;
      sendAnswer(response, 200, 'done');
    },
  };
}

test('a proxy that stops finishes what is under way, refuses what is new, and then is gone', async (t) => {
  const { go, handler } = onCue();
  const { app, upstream } = await startPlainGateway(t, { handler });
  const idle = await connectRaw(app.url);
  const underWay = call(`${app.url}/plain`);
  await eventually('the upstream has the request', () => upstream.requests.length === 1);
  const stopped = app.stop();
  const refused = await call(`${app.url}/plain`);
  assertProblem(refused, 'ERR_SHUTTING_DOWN');
  assert.match(refused.headers['retry-after'] ?? '', /^\d+$/);
  assert.equal(refused.headers.connection, 'close');
  go();
  const answered = await underWay;
  assert.deepEqual([answered.status, answered.text], [200, 'done']);
  await soon('the proxy has stopped', stopped);
  await soon('an idle connection is closed', idle.closed());
  await assert.rejects(call(`${app.url}/plain`), { code: 'ECONNREFUSED' });
  await assert.rejects(call(`${app.admin}/livez`), { code: 'ECONNREFUSED' });
  assert.equal(upstream.requests.length, 1);
});

test('a proxy that stops says that it is not ready, and lives', async (t) => {
  const { go, handler } = onCue();
  const { app, upstream } = await startPlainGateway(t, { handler });
  assert.equal((await call(`${app.admin}/readyz`)).status, 200);
  const underWay = call(`${app.url}/plain`);
  await eventually('the upstream has the request', () => upstream.requests.length === 1);
  const stopped = app.stop();
  assert.equal((await call(`${app.admin}/readyz`)).status, 503);
  assert.equal((await call(`${app.admin}/livez`)).status, 200);
  go();
  await underWay;
  await stopped;
});

test('a stream that is still open when the grace is over is cut, on both sides', async (t) => {
  const stream = eventStream();
  const { app } = await startPlainGateway(t, {
    handler: stream.handler,
    top: { limits: { shutdown_grace: '300ms' } },
  });
  const answer = await open(`${app.url}/plain`);
  const broken = new Promise<Error>((resolve) => answer.once('error', resolve));
  answer.resume();
  await soon('the proxy has stopped', app.stop());
  assert.equal((await soon('the caller sees the stream break', broken)).message, 'aborted');
  await soon('the upstream sees the stream close', stream.gone);
});

test('with nothing under way a stop does not wait for the grace', async (t) => {
  const { app } = await startPlainGateway(t);
  await call(`${app.url}/plain`);
  await soon('the proxy has stopped', app.stop(), 3000);
});

test('as many requests as may be are in flight, open streams included, and one more is told so', async (t) => {
  const stream = eventStream();
  const { app, upstream } = await startPlainGateway(t, {
    handler: stream.handler,
    top: { limits: { max_in_flight: 2 } },
  });
  const first = await open(`${app.url}/plain`);
  const second = await open(`${app.url}/plain`);
  const refused = await soon('the refusal', call(`${app.url}/plain`));
  assertProblem(refused, 'ERR_OVERLOADED');
  assert.match(refused.headers['retry-after'] ?? '', /^\d+$/);
  assert.equal(upstream.requests.length, 2);
  first.on('error', () => {}).destroy();
  await soon('one stream has ended', stream.gone);
  const third = await open(`${app.url}/plain`);
  assert.equal(third.statusCode, 200);
  for (const answer of [second, third]) answer.on('error', () => {}).destroy();
});
