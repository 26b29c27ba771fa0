import assert from 'node:assert/strict';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, soon } from '../harness/eventually.ts';
import { type FakeSetup, SETUP_ROUTE, startFakeSetup } from '../harness/fake-setup.ts';
import { echo, eventStream, flood, respond } from '../harness/fake-upstream.ts';
import type { GatewayConfig } from '../harness/gateway.ts';
import { memoryBytes, openFiles } from '../harness/process-figures.ts';

const MIB = 1024 * 1024;
const TOTAL_BYTES = 256 * MIB;
/** Limit for the bytes in the sockets between three processes: far below the total. */
const HELD_BYTES = 32 * MIB;
/** Limit for the growth of memory. It includes garbage, but is far below the total. */
const GROWN_BYTES = 96 * MIB;
const CHUNK = Buffer.alloc(64 * 1024, 'x');
const STALL_MS = 1_000;

/** Measures how much more memory the program has at most than now. */
async function watchMemory(t: TestContext, { cambist }: FakeSetup): Promise<() => number> {
  const before = await memoryBytes(cambist.pid);
  let most = before;
  const timer = setInterval(async () => {
    most = Math.max(most, await memoryBytes(cambist.pid).catch(() => 0));
  }, 50);
  t.after(() => clearInterval(timer));
  return () => most - before;
}

async function stalled(figure: () => number): Promise<number> {
  let before = -1;
  while (before !== figure()) {
    before = figure();
    await delay(STALL_MS);
  }
  return before;
}

test('pauses the upstream of an unread download, and uses no memory for it', async (t) => {
  const setup = await startFakeSetup(t);
  const headers = await setup.bearer();
  const { handler, writtenBytes } = flood(TOTAL_BYTES);
  setup.upstream.handler = respond(200);
  await setup.call({ headers });
  setup.upstream.handler = handler;
  const grown = await watchMemory(t, setup);
  const download = await setup.open({ headers });
  const written = await stalled(writtenBytes);
  assert.ok(written < HELD_BYTES, `${written} bytes were accepted without a reader`);
  assert.equal(await drain(download), TOTAL_BYTES);
  assert.ok(grown() < GROWN_BYTES, `${grown()} bytes of memory for ${TOTAL_BYTES} bytes of body`);
});

test('pauses the client of an unread upload, and uses no memory for it', async (t) => {
  const setup = await startFakeSetup(t);
  const headers = await setup.bearer();
  setup.upstream.handler = respond(200);
  await setup.call({ headers });
  let read = (): void => {};
  setup.upstream.handler = async ({ message }, response) => {
    await new Promise<void>((resolve) => {
      read = resolve;
    });
    response.end(String(await drain(message)));
  };
  const grown = await watchMemory(t, setup);
  const upload = request(`${setup.cambist.url}/${SETUP_ROUTE}`, { method: 'POST', headers, agent: false });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    upload.once('response', resolve);
    upload.once('error', reject);
  });
  let sent = 0;
  const send = (): void => {
    while (sent < TOTAL_BYTES) {
      sent += CHUNK.length;
      if (!upload.write(CHUNK)) {
        upload.once('drain', send);
        return;
      }
    }
    upload.end();
  };
  send();
  const taken = await stalled(() => sent);
  assert.ok(taken < HELD_BYTES, `${taken} bytes were accepted without a reader`);
  read();
  let text = '';
  for await (const chunk of await answered) text += String(chunk);
  assert.equal(text, String(TOTAL_BYTES));
  assert.ok(grown() < GROWN_BYTES, `${grown()} bytes of memory for ${TOTAL_BYTES} bytes of body`);
});

async function drain(message: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const chunk of message) bytes += (chunk as Buffer).length;
  return bytes;
}

/**
 * The program's timers run a hundred times faster, so this is 400 seconds for them. undici and Node abort after 300 seconds
 * by default.
 */
const IDLE_MS = 4_000;

const FAST_TIMERS = new URL('../harness/fast-timers.ts', import.meta.url).href;

/** Raises the timeouts, because they elapse a hundred times faster, too. */
function withLongTimeouts(config: GatewayConfig): GatewayConfig {
  return {
    ...config,
    authorization_servers: { local: { ...config.authorization_servers.local, timeout: '10m' } },
    routes: config.routes.map((route) => ({ ...route, timeouts: { connect: '1h' } })),
  };
}

test('keeps a stream, a slow response and a slow upload open while they are silent', async (t) => {
  const setup = await startFakeSetup(t, {
    change: withLongTimeouts,
    env: { NODE_OPTIONS: `--import ${import.meta.resolve('tsx')} --import ${FAST_TIMERS}` },
  });
  const headers = await setup.bearer();

  const stream = eventStream();
  setup.upstream.handler = stream.handler;
  const events = await setup.open({ method: 'GET', headers });
  const heard = text(events);
  await eventually('the stream is open', () => stream.streams.size === 1);

  setup.upstream.handler = async (received, response) => {
    await delay(IDLE_MS);
    await respond(200, 'late')(received, response);
  };
  const late = setup.call({ headers, body: '{}' });

  await eventually('the slow call has come', () => setup.upstream.requests.length === 2);
  setup.upstream.handler = async (received, response) => {
    await respond(200, (await received.body()).toString())(received, response);
  };
  const upload = request(`${setup.cambist.url}/${SETUP_ROUTE}`, { method: 'POST', headers });
  const uploaded = new Promise<string>((resolve, reject) => {
    upload.once('response', (response) => resolve(text(response)));
    upload.once('error', reject);
  });
  upload.write('first half, ');

  await delay(IDLE_MS);
  upload.end('second half');
  for (const open of stream.streams) open.end('data: after all\n\n');
  assert.equal(await soon('the upload is answered', uploaded), 'first half, second half');
  assert.equal((await soon('the slow response', late)).text, 'late');
  assert.equal(await soon('the event', heard), 'data: after all\n\n');

  const limits = setup.cambist
    .stderr()
    .split('\n')
    .filter((line) => line.startsWith('{"timeout"'));
  const found = limits.map((line) => JSON.parse(line) as Record<string, number>);
  for (const { timeout, headersTimeout } of found) {
    assert.equal(timeout, 0);
    // Headers have a timeout, unlike the body.
    assert.ok(headersTimeout !== undefined && headersTimeout > 0 && headersTimeout <= 60_000, `${headersTimeout}`);
  }
  // Only the admin listener limits the time of a whole request.
  assert.deepEqual(new Set(found.map(({ requestTimeout }) => requestTimeout)), new Set([0, 10_000]));
});

const STREAMS = 1_000;
const CALLS = 200;
/** Streams that open at the same time, because a listener's backlog is shorter than a thousand. */
const BATCH = 100;
/** Files of listeners, log, timers and idle connections. */
const SPARE_FILES = 60;

test('relays every event of a thousand streams, serves other requests, and frees all resources', async (t) => {
  const setup = await startFakeSetup(t);
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
