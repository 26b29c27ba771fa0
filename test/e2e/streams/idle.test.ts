import assert from 'node:assert/strict';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, soon } from '../../harness/eventually.ts';
import { type FakeSetupConfig, SETUP_ROUTE, startFakeSetup } from '../../harness/fake-setup.ts';
import { eventStream, respond } from '../../harness/upstream-handlers.ts';

/**
 * The program's timers run a hundred times faster, so this is 400 seconds for them. undici and Node abort after 300 seconds
 * by default.
 */
const IDLE_MS = 4_000;

const FAST_TIMERS = new URL('../../harness/fast-timers.ts', import.meta.url).href;

/** Raises the timeouts, because they elapse a hundred times faster, too. */
function withLongTimeouts(config: FakeSetupConfig): FakeSetupConfig {
  return {
    ...config,
    authorization_servers: { local: { ...config.authorization_servers.local, timeout: '10m' } },
    routes: config.routes.map((route) => ({ ...route, timeouts: { connect: '10m' } })),
  };
}

test('keeps a stream, a slow response and a slow upload open while they are silent', async (t) => {
  const setup = await startFakeSetup({
    change: withLongTimeouts,
    env: { NODE_OPTIONS: `--import ${import.meta.resolve('tsx')} --import ${FAST_TIMERS}` },
  });
  t.after(setup.close);
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
