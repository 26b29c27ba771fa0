import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { LogLine } from '../harness/cambist-process.ts';
import { deferred, eventually, soon } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { SETUP_SERVER, startFakeSetup } from '../harness/fake-setup.ts';
import { echo, eventStream, neverRespond, respond } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';

const SHUTTING_DOWN = 'cambist is shutting down';
const DRAINING = 'draining requests in flight; a second signal aborts them';

test('starts without its authorization server, and is ready once the server is available', async (t) => {
  const setup = await startFakeSetup(t, {
    ready: false,
    prepare: ({ authorizationServer }) => authorizationServer.close(),
  });
  const { adminUrl } = setup.cambist;
  const unready = await fetch(`${adminUrl}/readyz`);
  assert.equal(unready.status, 503);
  await setup.cambist.waitForLog(({ msg }) => msg === 'not ready');
  assert.equal((await fetch(`${adminUrl}/livez`)).status, 200);
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 503);

  const _back = await startFakeAuthorizationServer(t, { port: setup.authorizationServer.port });
  await setup.cambist.ready();
  const ready = await (await fetch(`${adminUrl}/readyz`)).json();
  assert.deepEqual(ready, { ready: true, checks: { [`authorization_servers.${SETUP_SERVER}`]: 'ready' } });
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  const notReady = setup.cambist.logs().filter(({ msg }) => msg === 'not ready');
  assert.equal(notReady.length, 1, 'the log reports it once');
});

const WORKERS = 30;

test('loses no request of busy kept-alive connections on shutdown', async (t) => {
  const setup = await startFakeSetup(t);
  setup.upstream.handler = echo;
  const headers = await setup.bearer();
  const agent = new Agent({ keepAlive: true });
  let closing = 0;
  const failures: string[] = [];
  const work = async (pauseMs: number): Promise<void> => {
    // Until more than one response for each connection has closed it, so that new connections got some as well.
    while (closing <= WORKERS && failures.length === 0) {
      await call(`${setup.cambist.url}/tools`, { agent, headers, body: '{}' }).then(
        (response) => {
          if (response.headers.connection === 'close') closing += 1;
          if (response.status !== 200) failures.push(response.text);
        },
        (error: Error) => failures.push(error.message),
      );
      await delay(pauseMs);
    }
  };
  const workers = Array.from({ length: WORKERS }, (_, index) => work(index % 2 === 0 ? 5 : 20));
  await delay(500);
  setup.cambist.signal('SIGTERM');
  await Promise.all(workers);
  assert.deepEqual(failures, []);
  assert.deepEqual(await setup.cambist.exit, { code: 0, signal: null });
});

test('logs one line with the addresses and routes, only JSON lines, and all before SIGINT ends it; SIGUSR1 opens no debugger', async (t) => {
  const setup = await startFakeSetup(t);
  setup.cambist.signal('SIGUSR1');
  const sent: string[] = [];
  for (let i = 0; i < 20; i += 1) sent.push((await setup.call()).requestId);
  setup.cambist.signal('SIGINT');
  assert.deepEqual(await soon('the exit', setup.cambist.exit), { code: 0, signal: null });
  const requests = setup.cambist.logs().filter(({ msg }) => msg === 'request');
  assert.deepEqual(requests.map(({ request_id }) => request_id).sort(), sent.sort());
  assert.ok(!setup.cambist.logs().some(({ msg }) => msg === DRAINING));
  assert.equal(setup.cambist.logs().at(-1)?.msg, 'cambist has stopped');
  const lines = setup.cambist.stdout().split('\n');
  assert.equal(lines.length, setup.cambist.logs().length, 'standard output contains only log lines');
  for (const { level, time, msg } of setup.cambist.logs()) {
    assert.ok(typeof level === 'string' && typeof msg === 'string' && !Number.isNaN(Date.parse(String(time))));
  }
  const starts = setup.cambist.logs().filter(({ msg }) => msg === 'cambist is listening');
  assert.equal(starts.length, 1);
  const { version, listen, admin, config, routes } = starts[0] ?? {};
  assert.match(String(version), /^\d+\.\d+\.\d+/);
  assert.deepEqual([listen, admin, config], [setup.cambist.url, setup.cambist.adminUrl, setup.cambist.configFile]);
  const [route, ...more] = routes as string[];
  assert.deepEqual(more, []);
  assert.ok(route?.startsWith(`tools: ${setup.cambist.url}/tools → http://127.0.0.1:`), route);
  assert.match(route ?? '', / \(aud http:\/\/127\.0\.0\.1:\d+\S*\)$/);
  assert.equal(setup.cambist.stderr(), '');
});

test('on SIGTERM, is not ready, finishes the request and the stream in flight, and exits with 0', async (t) => {
  const { promise: held, resolve: release } = deferred<void>();
  const setup = await startFakeSetup(t);
  const stream = eventStream();
  setup.upstream.handler = stream.handler;
  const events = await setup.open({ method: 'GET', headers: await setup.bearer() });
  setup.upstream.handler = async (request, response) => {
    await held;
    await respond(200, 'late but whole')(request, response);
  };
  const pending = setup.call({ headers: await setup.bearer() });
  await eventually('both have reached the upstream', () => setup.upstream.requests.length === 2);
  setup.cambist.signal('SIGTERM');
  const { grace_ms } = await setup.cambist.waitForLog(({ msg }) => msg === SHUTTING_DOWN);
  assert.equal(grace_ms, 25_000);
  await setup.cambist.waitForLog(({ msg }) => msg === DRAINING);
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 503);
  const health = ['/readyz', '/livez'].map(async (path) => (await fetch(`${setup.cambist.adminUrl}${path}`)).status);
  assert.deepEqual(await Promise.all(health), [503, 200]);
  release();
  assert.equal((await pending).text, 'late but whole');
  stream.emit('still here');
  stream.end();
  assert.equal(await text(events), 'data: still here\n\n');
  assert.deepEqual(await setup.cambist.exit, { code: 0, signal: null });
  assert.equal(setup.cambist.logs().at(-1)?.msg, 'cambist has stopped');
  await assert.rejects(setup.call(), { code: 'ECONNREFUSED' });
});

/** An open stream, and a request without a response. */
async function startBusy(t: TestContext, grace: string) {
  const stream = eventStream();
  const setup = await startFakeSetup(t, { change: (config) => ({ ...config, limits: { shutdown_grace: grace } }) });
  setup.upstream.handler = stream.handler;
  const open = await setup.open({ method: 'GET', headers: await setup.bearer() });
  const broken = assert.rejects(open.toArray(), { code: 'ECONNRESET' });
  setup.upstream.handler = neverRespond;
  const refused = assert.rejects(setup.call({ headers: await setup.bearer() }));
  await eventually('both have reached the upstream', () => setup.upstream.requests.length === 2);
  return { setup, stream, cut: () => Promise.all([broken, refused]) };
}

/** Both requests were aborted by the shutdown. */
function assertCutByShutdown(lines: readonly LogLine[]): void {
  const requests = lines.filter(({ msg }) => msg === 'request');
  assert.deepEqual(requests.map(({ aborted_by, outcome }) => [aborted_by, outcome]).sort(), [
    ['shutdown', 'cancelled'],
    ['shutdown', 'forwarded'],
  ]);
  assert.equal(lines.at(-1)?.msg, 'cambist has stopped');
}

test('aborts requests when shutdown_grace elapses, logs it, and exits with 0', async (t) => {
  const { setup, stream, cut } = await startBusy(t, '500ms');
  setup.cambist.signal('SIGTERM');
  const waits = await setup.cambist.waitForLog(({ msg }) => msg === DRAINING);
  assert.deepEqual([waits.in_flight, waits.open_streams], [2, 1]);
  await cut();
  await soon('the upstream sees the stream close', stream.gone);
  assert.deepEqual(await soon('the exit', setup.cambist.exit), { code: 0, signal: null });
  const lines = setup.cambist.logs();
  assert.ok(lines.some(({ msg }) => msg === 'shutdown grace elapsed; closing requests in flight'));
  assertCutByShutdown(lines);
});

test('aborts requests on a second signal, and writes every log line', async (t) => {
  const { setup, stream, cut } = await startBusy(t, '1h');
  setup.cambist.signal('SIGINT');
  await setup.cambist.waitForLog(({ msg }) => msg === DRAINING);
  setup.cambist.signal('SIGINT');
  await cut();
  await soon('the upstream sees the stream close', stream.gone);
  assert.deepEqual(await soon('the exit', setup.cambist.exit), { code: 1, signal: null });
  assertCutByShutdown(setup.cambist.logs());
});
