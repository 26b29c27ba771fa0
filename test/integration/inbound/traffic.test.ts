import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { test } from 'node:test';
import { WebSocket } from 'undici';
import { deferred, eventually, soon } from '../../harness/eventually.ts';
import { neverRespond } from '../../harness/fake-upstream.ts';
import { lastHandle, startInboundGateway, startPlainGateway } from '../../harness/gateway.ts';
import { call, connectRaw, open, sendRaw } from '../../harness/http-call.ts';
import { REFUSED_FRAMINGS } from '../../harness/refused-framings.ts';
import { startWebSocketServer } from '../../harness/web-socket-server.ts';

test('streams in both directions while the request is still being sent', async (t) => {
  const gateway = await startInboundGateway(t, {
    agent: ({ message }, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      message.on('data', (chunk: Buffer) => response.write(`data: ${chunk}\n\n`));
      message.on('end', () => response.end());
    },
  });
  const sent = request(gateway.url, {
    method: 'POST',
    agent: false,
    headers: { authorization: `Bearer ${await gateway.mint()}`, 'transfer-encoding': 'chunked' },
  });
  sent.write('one');
  const [response] = await once(sent, 'response');
  response.setEncoding('utf8');
  assert.deepEqual(await once(response, 'data'), ['data: one\n\n']);
  assert.equal(await gateway.app.metric('cambist_inbound_open_streams'), 1);
  sent.write('two');
  assert.deepEqual(await once(response, 'data'), ['data: two\n\n']);
  sent.end();
  await once(response, 'end');
  await gateway.app.metricBecomes('cambist_inbound_open_streams', 0);
});

test('opens a WebSocket to the agent with the handle', async (t) => {
  const agent = await startWebSocketServer(t);
  const gateway = await startInboundGateway(t, { inbound: { agent: agent.url } });
  const url = gateway.url.replace('http', 'ws');
  const socket = new WebSocket(`${url}/chat`, { headers: { authorization: `Bearer ${await gateway.mint()}` } });
  t.after(() => socket.close());
  await soon('the WebSocket is open', once(socket, 'open'));
  socket.send('hello');
  const [event] = await soon('the echo', once(socket, 'message'));
  assert.equal((event as { data: unknown }).data, 'hello');
  const refused = new WebSocket(`${url}/chat`);
  await soon('the refusal', once(refused, 'error'));
});

test('lets the agent reach its backends while requests of its callers are drained', async (t) => {
  const { promise: finished, resolve: finish } = deferred<void>();
  const gateway = await startInboundGateway(t, {
    agent: async (request, response) => {
      const authorization = request.authorization[0] ?? '';
      if (request.url === '/held') await finished;
      const { status } = await call(`${gateway.app.url}/github`, { headers: { authorization } });
      response.end(String(status));
    },
  });
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  const idle = new Agent({ keepAlive: true });
  t.after(() => idle.destroy());
  const kept = () => Object.values(idle.freeSockets).flat().length;
  assert.equal((await call(gateway.url, { headers, agent: idle })).text, '200');
  await eventually('the caller keeps its connection', () => kept() === 1);
  const calling = call(`${gateway.url}/held`, { headers });
  await eventually('the agent has the request', () => gateway.agent.requests.length === 2);
  const stopping = gateway.app.stop();
  await eventually('the drain is logged', () => gateway.app.logText().includes('draining requests'));
  await eventually('the idle connection of a caller is closed', () => kept() === 0);
  finish();
  assert.equal((await calling).text, '200');
  await stopping;
});

test('closes a busy connection of a caller after a while, with a response', async (t) => {
  const gateway = await startInboundGateway(t);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  const persistence = async () => (await call(gateway.url, { agent, headers })).headers.connection;
  assert.equal(await persistence(), 'keep-alive');
  await eventually('a response is the last', async () => (await persistence()) === 'close', 20_000, 100);
  assert.equal(await persistence(), 'keep-alive');
});

test('refuses callers beyond limits.max_in_flight, apart from the agent, until a caller that waits leaves', async (t) => {
  const gateway = await startInboundGateway(t, { agent: neverRespond, top: { limits: { max_in_flight: 1 } } });
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  const abort = new AbortController();
  const first = open(gateway.url, { headers, signal: abort.signal }).catch(() => undefined);
  await eventually('the agent has the request', () => gateway.agent.requests.length === 1);
  assert.equal((await call(gateway.url, { headers })).status, 503);
  const authorization = `Bearer ${lastHandle(gateway)}`;
  assert.equal((await call(`${gateway.app.url}/github`, { headers: { authorization } })).status, 200);
  abort.abort();
  await first;
  await soon('the agent sees it', gateway.agent.requests[0]?.gone ?? assert.fail());
  const cancelled = { method: 'GET', code: '499', outcome: 'cancelled' };
  await gateway.app.metricBecomes('cambist_inbound_requests_total', 1, cancelled);
  assert.equal(await gateway.app.metric('cambist_inbound_requests_in_flight'), 0);
});

test('writes a log line, and counts requests, failures and handles, without any credential', async (t) => {
  const gateway = await startInboundGateway(t);
  const token = await gateway.mint();
  await call(gateway.url, { headers: { authorization: `Bearer ${token}` }, body: 'x' });
  await call(gateway.url, { body: 'x' });
  const lines = gateway.app.logs.filter(({ route }) => route === '_inbound');
  assert.deepEqual(
    lines.map(({ status, outcome, error }) => [status, outcome, error]),
    [
      [200, 'forwarded', undefined],
      [401, 'refused', 'ERR_SUBJECT_TOKEN_MISSING'],
    ],
  );
  const authorization = `Bearer ${lastHandle(gateway)}`;
  await call(`${gateway.app.url}/github`, { headers: { authorization } });
  const text = await gateway.app.metrics();
  assert.match(text, /cambist_inbound_detached_requests_total\{result="refused"\} 1/);
  assert.match(text, /cambist_inbound_requests_total\{method="POST",code="200",outcome="forwarded"\} 1/);
  assert.match(text, /cambist_inbound_failures_total\{error="ERR_SUBJECT_TOKEN_MISSING"\} 1/);
  assert.match(text, /cambist_inbound_request_duration_seconds_count 2/);
  assert.match(text, /cambist_inbound_handles 1/);
  assert.match(text, /cambist_connections\{listener="inbound"\}/);
  for (const secret of [token, 'cbh_']) assert.ok(!`${text}${gateway.app.logText()}`.includes(secret));
});

test('has no metric of inbound without inbound', async (t) => {
  const { app } = await startPlainGateway(t);
  assert.doesNotMatch(await app.metrics(), /cambist_inbound/);
});

test('refuses every framing that is refused from the agent, and sends nothing to the agent', async (t) => {
  const gateway = await startInboundGateway(t);
  const authorized = `Host: localhost\r\nAuthorization: Bearer ${await gateway.mint()}\r\n`;
  for (const [flaw, bytes] of REFUSED_FRAMINGS) {
    const text = await sendRaw(gateway.url, bytes.replaceAll('Host: localhost\r\n', authorized));
    assert.match(text, /^HTTP\/1\.1 400 /, flaw);
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1, flaw);
  }
  assert.equal(gateway.agent.requests.length, 0);
});

test('refuses other codings, a second Host, CONNECT, TRACE, dot segments, old versions and headers that are too large or too many', async (t) => {
  const top = { forward_proxy: { connect: ['127.0.0.1:9'] } };
  const gateway = await startInboundGateway(t, { top, inbound: { open: ['/healthz', '/public/*'] } });
  const authorization = `Authorization: Bearer ${await gateway.mint()}\r\n`;
  const refused: [status: string, head: string][] = [
    ['403', `POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n`],
    ['403', `GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n`],
    ['403', `GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n`],
    ['403', `GET http://h/ HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n`],
    ['403', `GET http://a@h/ HTTP/1.1\r\nHost: localhost\r\n`],
    ['403', `GET http://a%zz/healthz HTTP/1.1\r\nHost: localhost\r\n`],
    ['431 .*ERR_TOO_MANY_HEADERS', `GET / HTTP/1.1\r\nHost: localhost\r\n${'X: 1\r\n'.repeat(100)}`],
    ['403', `CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: localhost\r\n`],
    ['403', `TRACE / HTTP/1.1\r\nHost: localhost\r\n`],
    ['403', `TRACE /healthz HTTP/1.1\r\nHost: localhost\r\n`],
    ['403', `GET /public/../private HTTP/1.1\r\nHost: localhost\r\n`],
    ['403', `GET /public/%2e%2e/private HTTP/1.1\r\nHost: localhost\r\n`],
    ['403', `GET http://h/public/../private HTTP/1.1\r\nHost: localhost\r\n`],
    ['400', `GET / HTTP/1.1\r\n`],
    ['400', `PRI * HTTP/2.0\r\n`],
    ['431', `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(40_000)}\r\n`],
  ];
  for (const [status, head] of refused) {
    const text = await sendRaw(gateway.url, `${head}${authorization}Connection: close\r\n\r\n`);
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status}\\b`), head.slice(0, 80));
  }
  assert.equal(gateway.agent.requests.length, 0);
});

test('responds to pipelined requests in order, and forwards absolute-form as it is, and Expect: 100-continue with its body', async (t) => {
  const gateway = await startInboundGateway(t);
  const head = `Host: localhost\r\nAuthorization: Bearer ${await gateway.mint()}\r\n`;
  const last = `POST /3 HTTP/1.1\r\n${head}Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi`;
  const text = await sendRaw(
    gateway.url,
    `GET /1 HTTP/1.1\r\n${head}\r\nGET http://agent.example/2 HTTP/1.1\r\n${head}\r\n${last}`,
  );
  assert.equal(text.match(/HTTP\/1\.1 200/g)?.length, 3);
  const responses = [...text.matchAll(/"url":"(\/\d)"/g)].map(([, url]) => url);
  assert.deepEqual(responses, ['/1', '/2', '/3']);
  // The agent may get them in any order, on several connections.
  const arrived = gateway.agent.requests.toSorted((one, other) => String(one.url).localeCompare(String(other.url)));
  const seen = arrived.map(({ url, headers }) => [url, headers.host]);
  assert.deepEqual(seen, [
    ['/1', 'localhost'],
    ['/2', 'agent.example'],
    ['/3', 'localhost'],
  ]);
  assert.equal((await arrived[2]?.body())?.toString(), 'hi');
});

test('serves a new caller while another holds all connections without using them', async (t) => {
  const gateway = await startInboundGateway(t, { top: { limits: { max_in_flight: 2, max_connections: 2 } } });
  const held = [await connectRaw(gateway.url), await connectRaw(gateway.url)];
  t.after(() => held.forEach(({ socket }) => void socket.destroy()));
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  assert.equal((await call(gateway.url, { headers })).status, 200);
  const dropped = { listener: 'inbound' };
  assert.equal(await gateway.app.metric('cambist_connections_dropped_total', dropped), 1);
});
