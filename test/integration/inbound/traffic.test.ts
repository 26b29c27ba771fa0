import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { test } from 'node:test';
import { WebSocket } from 'undici';
import { deferred } from '../../harness/deferred.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { startPlainGateway } from '../../harness/gateway.ts';
import { call, open } from '../../harness/http-call.ts';
import { lastHandle, startInboundGateway } from '../../harness/inbound.ts';
import { sumSamples } from '../../harness/metric-samples.ts';
import { neverRespond } from '../../harness/upstream-handlers.ts';
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
  assert.equal(sumSamples(await gateway.app.metrics(), 'cambist_inbound_open_streams'), 1);
  sent.write('two');
  assert.deepEqual(await once(response, 'data'), ['data: two\n\n']);
  sent.end();
  await once(response, 'end');
  const openStreams = async () => sumSamples(await gateway.app.metrics(), 'cambist_inbound_open_streams');
  await eventually('no open stream', async () => (await openStreams()) === 0);
});

test('opens a WebSocket to the agent with the handle', async (t) => {
  const agent = await startWebSocketServer();
  t.after(agent.close);
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

test('aborts the request at the agent when its caller leaves, and counts it', async (t) => {
  const gateway = await startInboundGateway(t, { agent: neverRespond });
  const abort = new AbortController();
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  const calling = open(gateway.url, { headers, signal: abort.signal }).catch(() => 'left');
  await eventually('the agent has the request', () => gateway.agent.requests.length === 1);
  abort.abort();
  assert.equal(await calling, 'left');
  await soon('the agent sees it', gateway.agent.requests[0]?.gone ?? Promise.reject(new Error('no request')));
  const cancelled = 'cambist_inbound_requests_total{method="GET",code="499",outcome="cancelled"} 1';
  await eventually('the metric', async () => (await gateway.app.metrics()).includes(cancelled));
  assert.equal(sumSamples(await gateway.app.metrics(), 'cambist_inbound_requests_in_flight'), 0);
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

test('refuses callers beyond limits.max_in_flight, apart from the requests of the agent', async (t) => {
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
