import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { platform } from 'node:process';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../../src/clock/clock.ts';
import { routeTo, startTestApp } from '../harness/app.ts';
import { get } from '../harness/disconnects.ts';
import { deferred, eventually, soon } from '../harness/eventually.ts';
import type { Behaviour } from '../harness/fake-authorization-server.ts';
import { echo, neverRespond, startFakeUpstream } from '../harness/fake-upstream.ts';
import { type Gateway, startGateway, startInboundGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw } from '../harness/http-call.ts';
import { openTunnel } from '../harness/intercepted.ts';

/** Two backends. The first never responds. */
async function startBackends(t: TestContext, limits: Record<string, unknown>) {
  const hung = await startFakeUpstream(t, neverRespond);
  const healthy = await startFakeUpstream(t, (_request, response) => void response.end('ok'));
  const route = (name: string, upstream: string) => routeTo(name, upstream, { credential: 'none' });
  const config = {
    limits,
    forward_proxy: { connect: [`127.0.0.1:${healthy.port}`] },
    routes: [route('hung', hung.url), route('hung-too', `${hung.url}/other`), route('healthy', healthy.url)],
  };
  const app = await startTestApp(t, config);
  const hang = async (path: string, count: number) => {
    const before = hung.requests.length;
    const connections = await Promise.all(Array.from({ length: count }, () => connectRaw(app.url)));
    for (const connection of connections) connection.send(get(path));
    await eventually('the backend has the requests', () => hung.requests.length === before + count);
    return connections;
  };
  return { app, hang, healthy, config };
}

test('leaves room for other backends when one hangs', async (t) => {
  const { app, hang } = await startBackends(t, { max_in_flight: 4 });
  const connections = await hang('/hung', 3);
  assertProblem(await call(`${app.url}/hung`), 'ERR_OVERLOADED');
  assert.equal((await call(`${app.url}/healthy`)).status, 200);
  assert.match(
    app.logText(),
    /route \\"hung\\": the backend has as many requests in flight as limits\.max_in_flight_per_upstream/,
  );
  connections[0]?.socket.destroy();
  await app.metricBecomes('cambist_requests_in_flight', 2);
  await hang('/hung', 1);
});

test('counts all routes to one backend together', async (t) => {
  const { app, hang } = await startBackends(t, { max_in_flight: 10, max_in_flight_per_upstream: 2 });
  await hang('/hung', 1);
  await hang('/hung-too', 1);
  for (const path of ['/hung', '/hung-too']) assertProblem(await call(app.url + path), 'ERR_OVERLOADED');
  assert.equal((await call(`${app.url}/healthy`)).status, 200);
});

test('counts tunnels to one authority together', async (t) => {
  const { app, healthy } = await startBackends(t, { max_in_flight_per_upstream: 1 });
  const open = () => openTunnel(app.url, `127.0.0.1:${healthy.port}`);
  const first = await open();
  await first.until('200 Connection Established');
  assert.match(await soon('the refusal', (await open()).closed()), /^HTTP\/1\.1 503 [\s\S]*ERR_OVERLOADED/);
  first.socket.destroy();
  await app.metricBecomes('cambist_open_tunnels', 0);
  await (await open()).until('200 Connection Established');
});

test('shows the limits as metrics, and follows a reload', async (t) => {
  const { app, config } = await startBackends(t, { max_in_flight: 4 });
  const limits = () => {
    const names = ['max_in_flight', 'max_in_flight_per_upstream', 'max_connections'];
    return Promise.all(names.map((limit) => app.metric('cambist_limit', { limit })));
  };
  assert.deepEqual(await limits(), [4, 3, 1000]);
  app.reloadTo({ ...config, limits: { max_in_flight: 2000, max_in_flight_per_upstream: 7 } });
  assert.deepEqual(await limits(), [2000, 7, 4000]);
});

test('drops connections beyond limits.max_connections while all are busy, and accepts again when one is idle', async (t) => {
  const { app, hang, config } = await startBackends(t, { max_connections: 2 });
  const connections = await hang('/hung', 2);
  for (let i = 0; i < 3; i += 1) assert.equal(await soon('the drop', (await connectRaw(app.url)).closed()), '');
  await app.metricBecomes('cambist_connections_dropped_total', 3, { listener: 'listen' });
  const lines = app.logs.filter(({ msg }) => String(msg).includes('limits.max_connections'));
  assert.deepEqual([lines.length, lines[0]?.level], [1, 'warn']);
  app.reloadTo({ ...config, limits: { max_connections: 3 } });
  assert.equal((await call(`${app.url}/healthy`)).status, 200);
  app.reloadTo(config);
  connections[0]?.socket.destroy();
  await app.metricBecomes('cambist_connections', 1, { listener: 'listen' });
  assert.equal((await call(`${app.url}/healthy`)).status, 200);
});

test('responds to health checks while silent connections use up the limit of the admin listener', async (t) => {
  const { app } = await startBackends(t, {});
  const silent = await Promise.all(Array.from({ length: 300 }, () => connectRaw(app.admin)));
  t.after(() => silent.forEach(({ socket }) => void socket.destroy()));
  assert.equal((await call(`${app.admin}/livez`)).status, 200);
  assert.ok((await app.metric('cambist_connections_dropped_total', { listener: 'admin' })) >= 44);
  assert.ok((await app.metric('cambist_connections', { listener: 'admin' })) <= 256);
});

/** Requests for `/healthy` or, with a message, `/by-message`. Nothing of their bodies arrives. */
const INCOMPLETE: Record<string, readonly [path: string, headers: string]> = {
  'a small body': ['/healthy', 'content-length: 10'],
  'a large body': ['/healthy', 'content-length: 10000000'],
  'a chunked body': ['/healthy', 'transfer-encoding: chunked'],
  'the message that chooses their route': ['/by-message', 'content-length: 10\r\ncontent-type: application/json'],
};

async function assertGiveWay(url: string, path: string, headers: string): Promise<void> {
  const connections = await Promise.all(Array.from({ length: 6 }, () => connectRaw(url)));
  for (const { send } of connections) send(`POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${headers}\r\n\r\n`);
  const closed = connections.map(({ closed }) => soon('the refusal', closed()));
  for (const refused of await Promise.all([Promise.any(closed), ...closed.slice(0, 2)])) {
    assert.match(refused, /^HTTP\/1\.1 503 [\s\S]*ERR_OVERLOADED/);
  }
  assert.equal((await call(`${url}/healthy`, { body: 'whole' })).status, 200);
  assert.match(await soon('another refusal', closed[2] as Promise<string>), /^HTTP\/1\.1 503 /);
  const last = connections.at(-1);
  assert.equal(last?.received(), '');
  for (const { socket } of connections) socket.destroy();
}

for (const [missing, [path, headers]] of Object.entries(INCOMPLETE)) {
  test(`requests that wait for ${missing} give way to others at limits.max_in_flight`, async (t) => {
    const { app, config, healthy } = await startBackends(t, { max_in_flight: 4 });
    const match = { path: '/by-message', mcp_method: ['tools/list'] };
    const byMessage = routeTo('by-message', healthy.url, { match, credential: 'none' });
    app.reloadTo({ ...config, routes: [...config.routes, byMessage] });
    await assertGiveWay(app.url, path, headers);
  });
}

for (const limits of [{ max_in_flight: 3, max_in_flight_per_upstream: 3 }, { max_in_flight_per_upstream: 3 }]) {
  test(`uploads that stop give way to others at ${JSON.stringify(limits)}`, async (t) => {
    const { app, hang } = await startBackends(t, limits);
    const uploads = [];
    for (const part of ['content-length: 10000000\r\n\r\nx', 'transfer-encoding: chunked\r\n\r\n4\r\nx', '\r\n']) {
      const upload = await connectRaw(app.url);
      uploads.push(upload);
      upload.send(`POST /hung HTTP/1.1\r\nhost: 127.0.0.1\r\n${part}`);
      await app.metricBecomes('cambist_requests_in_flight', uploads.length);
    }
    await hang('/hung', 2);
    for (const { closed } of uploads.slice(0, 2)) {
      assert.match(await soon('the refusal', closed()), /^HTTP\/1\.1 503 [\s\S]*ERR_OVERLOADED/);
    }
    assertProblem(await call(`${app.url}/hung`), 'ERR_OVERLOADED');
    assert.equal(uploads[2]?.received(), '');
  });
}

test('incomplete requests of callers to open paths give way as well', async (t) => {
  const { url } = await startInboundGateway(t, {
    agent: echo,
    inbound: { open: ['/healthy'] },
    top: { limits: { max_in_flight: 4 } },
  });
  await assertGiveWay(url, '/healthy', 'content-length: 10');
});

test('a body that does not arrive, or arrives byte by byte, gets 408', async (t) => {
  const { app, upstream, authorization } = await startGateway(t, { route: { timeouts: { stall: '1s' } } });
  const send = async (headers: string, part: string) => {
    const connection = await connectRaw(app.url);
    connection.send(`POST /github HTTP/1.1\r\nhost: a\r\nauthorization: ${authorization}\r\n${headers}\r\n\r\n`);
    const timer = setInterval(() => connection.send(part), 100);
    const response = await soon('the refusal', connection.closed()).finally(() => clearInterval(timer));
    assert.match(response, /^HTTP\/1\.1 408 [\s\S]*connection: close[\s\S]*ERR_REQUEST_TIMEOUT/);
  };
  await Promise.all([
    send('content-length: 10', ''),
    send('transfer-encoding: chunked', ''),
    send('content-length: 1000', 'x'),
  ]);
  assert.equal(upstream.requests.length, 0);
  assert.match(app.logText(), /too little of the request's body arrived within timeouts\.stall, which is 1s/);
});

/** macOS has no loopback address but 127.0.0.1. */
const options = { skip: platform === 'darwin' };

const FLOODER = '127.0.0.2';
const NEWCOMER = '127.0.0.3';
const FLOOD_CONNECTIONS = 150;
const FLOOD_PAUSE_MS = 300;
const NEWCOMERS = 20;
/** Between two looks, each of which is a call with an exchange. */
const PAUSE_MS = 250;

/** Requests of one peer's unknown callers that an authorization server gets at a time. */
const MAX_IN_FLIGHT_OF_PEER = 48;
const SLOWER = 20;

/** Responses of an authorization server to a made-up token. */
const RESPONSES: Record<string, Behaviour> = {
  'is slow to refuse made-up tokens': { kind: 'response', status: 400, body: { error: 'invalid_grant' }, delayMs: 200 },
  'responds to made-up tokens with 500': { kind: 'response', status: 500, delayMs: 200 },
  'responds to made-up tokens with 429': { kind: 'response', status: 429, headers: { 'retry-after': '30' } },
  'closes the connections of made-up tokens': { kind: 'reset' },
};

/** An outage is rightly reported once no caller has had a token for ten seconds. They become more than a busy machine takes. */
function slowClock(t: TestContext): void {
  const { monotonicMs } = systemClock;
  const startMs = monotonicMs();
  t.mock.method(systemClock, 'monotonicMs', () => startMs + (monotonicMs() - startMs) / SLOWER);
}

async function start(t: TestContext, madeUp: Behaviour) {
  slowClock(t);
  const gateway = await startGateway(t);
  const { authorizationServer } = gateway;
  authorizationServer.behaviour = ({ form }) => (isMadeUp(form) ? madeUp : { kind: 'issue' });
  const accepted = await authorizationServer.mint({ subject: 'accepted' });
  assert.equal(await send(gateway, FLOODER, accepted), 200);
  return { ...gateway, accepted };
}

const isMadeUp = (form: URLSearchParams): boolean => form.get('subject_token')?.startsWith('made-up') === true;

function send({ app }: Gateway, localAddress: string, token: string, session = 'first'): Promise<number> {
  const headers = { authorization: `Bearer ${token}`, 'mcp-session-id': session };
  return call(`${app.url}/github`, { headers, localAddress }).then(({ status }) => status);
}

/** Calls with a new made-up token on each connection, again and again, until `during` settles. */
async function whileFlooded(gateway: Gateway, during: (responses: () => number) => Promise<void>): Promise<void> {
  let stopped = false;
  let responses = 0;
  const loop = async (): Promise<void> => {
    while (!stopped) {
      await send(gateway, FLOODER, `made-up-${randomUUID()}`);
      responses += 1;
      // Without a pause, responses that come at once keep a busy machine from serving others for seconds.
      await delay(FLOOD_PAUSE_MS);
    }
  };
  const loops = Promise.all(Array.from({ length: FLOOD_CONNECTIONS }, loop));
  try {
    await during(() => responses);
  } finally {
    stopped = true;
    await loops;
  }
}

/** Each call needs an exchange of its own: its caller or its session is new. */
async function assertServesOthers(gateway: Awaited<ReturnType<typeof start>>): Promise<void> {
  const { authorizationServer, accepted, app } = gateway;
  const tokens = await Promise.all(
    Array.from({ length: NEWCOMERS }, (_, i) => authorizationServer.mint({ subject: `new-${i}` })),
  );
  const statuses = await Promise.all(tokens.map((token) => send(gateway, NEWCOMER, token)));
  assert.deepEqual(statuses, Array(NEWCOMERS).fill(200));
  assert.equal(await send(gateway, FLOODER, accepted, 'second'), 200);
  assert.equal(await app.metric('cambist_authorization_server_available'), 1);
  const outages = app.logs.filter((line) => line.authorization_server !== undefined && line.route === undefined);
  assert.deepEqual(outages, []);
}

const FLOODED = 'serves new and accepted callers while one peer floods an authorization server that';

for (const [name, behaviour] of Object.entries(RESPONSES)) {
  test(`${FLOODED} ${name}`, options, async (t) => {
    const gateway = await start(t, behaviour);
    await whileFlooded(gateway, async (responses) => {
      const hasHundred = async () => {
        assert.equal(await send(gateway, FLOODER, gateway.accepted, randomUUID()), 200);
        return responses() >= 100;
      };
      await eventually('a hundred responses to the flood', hasHundred, undefined, PAUSE_MS);
      await assertServesOthers(gateway);
    });
  });
}

test(`${FLOODED} does not respond to made-up tokens`, options, async (t) => {
  const { promise: released, resolve: release } = deferred<void>();
  const gateway = await start(t, { kind: 'response', status: 400, until: released });
  const madeUp = () => gateway.authorizationServer.requests.filter(({ form }) => isMadeUp(form)).length;
  await whileFlooded(gateway, async () => {
    try {
      await eventually('as many requests as one peer may have', () => madeUp() >= MAX_IN_FLIGHT_OF_PEER);
      await assertServesOthers(gateway);
      assert.equal(madeUp(), MAX_IN_FLIGHT_OF_PEER);
    } finally {
      release();
    }
  });
});
