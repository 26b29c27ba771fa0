import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { startFakeSetup } from '../../harness/fake-setup.ts';
import { openFiles } from '../../harness/process-figures.ts';
import { echo, eventStream } from '../../harness/upstream-handlers.ts';

const STREAMS = 1_000;
const CALLS = 200;
/** Streams that open at the same time, because a listener's backlog is shorter than a thousand. */
const BATCH = 100;
/** Files of listeners, log, timers and idle connections. */
const SPARE_FILES = 60;

test('relays every event of a thousand streams, serves other requests, and frees all resources', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const { pid } = setup.cambist;
  const headers = await setup.bearer();
  const upstream = eventStream();
  setup.upstream.handler = (received, response) =>
    (received.method === 'GET' ? upstream.handler : echo)(received, response);
  await setup.call({ headers });
  const before = await openFiles(pid);

  const answers: IncomingMessage[] = [];
  const heard: string[] = [];
  for (let begun = 0; begun < STREAMS; begun += BATCH) {
    answers.push(...(await Promise.all(Array.from({ length: BATCH }, () => setup.open({ method: 'GET', headers })))));
  }
  for (const [index, answer] of answers.entries()) {
    heard[index] = '';
    answer.on('data', (chunk) => {
      heard[index] += String(chunk);
    });
  }
  assert.equal(upstream.streams.size, STREAMS);
  assert.equal(await setup.cambist.metric('cambist_open_streams'), STREAMS);
  const during = await openFiles(pid);
  // Each stream has two connections.
  assert.ok(during - before <= 2 * STREAMS + SPARE_FILES, `${during - before} more files are open`);

  for (const data of ['one', 'two']) {
    upstream.write(`data: ${data}\n\n`);
    const calls = await Promise.all(
      Array.from({ length: CALLS / 2 }, (_, index) => setup.call({ headers, body: String(index) })),
    );
    assert.ok(calls.every(({ status }) => status === 200));
  }
  await eventually('every stream has both events', () => heard.every((text) => text === 'data: one\n\ndata: two\n\n'));
  assert.equal(setup.authorizationServer.requests.length, 1);

  for (const answer of answers) answer.destroy();
  await eventually('the upstream sees every stream close', () => upstream.streams.size === 0);
  await eventually('the metric is 0', async () => (await setup.cambist.metric('cambist_open_streams')) === 0);
  await eventually('their connections are closed', async () => (await openFiles(pid)) <= before + SPARE_FILES);
});
