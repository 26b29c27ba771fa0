import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, soon } from '../../harness/eventually.ts';
import { call, connectRaw } from '../../harness/http-call.ts';
import { openHandle, startInboundGateway } from '../../harness/inbound.ts';
import { sumSamples } from '../../harness/metric-samples.ts';
import { REFUSED_FRAMINGS } from '../../harness/refused-framings.ts';
import { startWebSocketServer } from '../../harness/web-socket-server.ts';

test('refuses every framing that is refused from the agent, and sends nothing to the agent', async (t) => {
  const gateway = await startInboundGateway(t);
  const token = await gateway.mint();
  for (const [flaw, bytes] of REFUSED_FRAMINGS) {
    const connection = await connectRaw(gateway.url);
    connection.send(
      Buffer.from(
        bytes.replaceAll('Host: localhost\r\n', `Host: localhost\r\nAuthorization: Bearer ${token}\r\n`),
        'latin1',
      ),
    );
    const text = await soon(flaw, connection.closed());
    assert.match(text, /^HTTP\/1\.1 400 /, flaw);
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1, flaw);
  }
  assert.equal(gateway.agent.requests.length, 0);
});

test('refuses other codings, a second Host, TRACE, dot segments, old versions and headers that are too large or too many', async (t) => {
  const gateway = await startInboundGateway(t, { inbound: { open: ['/healthz', '/public/*'] } });
  const authorization = `Authorization: Bearer ${await gateway.mint()}\r\n`;
  const refused: [status: string, head: string][] = [
    ['403', `POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n`],
    ['403', `GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n`],
    ['403', `GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n`],
    ['403', `GET http://h/ HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n`],
    ['403', `GET http://a@h/ HTTP/1.1\r\nHost: localhost\r\n`],
    ['403', `GET http://a%zz/healthz HTTP/1.1\r\nHost: localhost\r\n`],
    ['431 .*ERR_TOO_MANY_HEADERS', `GET / HTTP/1.1\r\nHost: localhost\r\n${'X: 1\r\n'.repeat(100)}`],
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
    const connection = await connectRaw(gateway.url);
    connection.send(`${head}${authorization}Connection: close\r\n\r\n`);
    assert.match(
      await soon(head.slice(0, 60), connection.closed()),
      new RegExp(`^HTTP/1\\.1 ${status}\\b`),
      head.slice(0, 80),
    );
  }
  assert.equal(gateway.agent.requests.length, 0);
});

test('responds to pipelined requests in order, and forwards absolute-form as it is, and Expect: 100-continue with its body', async (t) => {
  const gateway = await startInboundGateway(t);
  const head = `Host: localhost\r\nAuthorization: Bearer ${await gateway.mint()}\r\n`;
  const connection = await connectRaw(gateway.url);
  const last = `POST /3 HTTP/1.1\r\n${head}Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n`;
  connection.send(`GET /1 HTTP/1.1\r\n${head}\r\nGET http://agent.example/2 HTTP/1.1\r\n${head}\r\n${last}`);
  connection.send('hi');
  const text = await soon('the connection closes', connection.closed());
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

test('keeps bytes that follow a WebSocket handshake at once', async (t) => {
  const agent = await startWebSocketServer();
  t.after(agent.close);
  const gateway = await startInboundGateway(t, { inbound: { agent: agent.url } });
  const connection = await connectRaw(gateway.url);
  t.after(() => connection.socket.destroy());
  const head = [
    'GET / HTTP/1.1',
    'Host: h',
    `Authorization: Bearer ${await gateway.mint()}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ].join('\r\n');
  // A masked text frame "hi", with a mask of zeros.
  const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, ...Buffer.from('hi')]);
  connection.send(Buffer.concat([Buffer.from(`${head}\r\n\r\n`), frame]));
  assert.match(await soon('the echo', connection.until(/hi$/)), /^HTTP\/1\.1 101 /);
});

test('closes connections beyond limits.max_connections while all are busy, and counts them', async (t) => {
  const gateway = await startInboundGateway(t, { top: { limits: { max_in_flight: 2, max_connections: 2 } } });
  const open = [await openHandle(t, gateway), await openHandle(t, gateway)];
  const extra = await connectRaw(gateway.url);
  assert.equal(await soon('the extra connection is closed', extra.closed()), '');
  const text = await gateway.app.metrics();
  assert.equal(sumSamples(text, 'cambist_connections_dropped_total', { listener: 'inbound' }), 1);
  for (const { close } of open) close();
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  await eventually('a connection is accepted again', async () =>
    call(gateway.url, { headers }).then(
      ({ status }) => status === 200,
      () => false,
    ),
  );
});

test('serves a new caller while another holds all connections without using them', async (t) => {
  const gateway = await startInboundGateway(t, { top: { limits: { max_in_flight: 2, max_connections: 2 } } });
  const held = [await connectRaw(gateway.url), await connectRaw(gateway.url)];
  t.after(() => held.forEach(({ socket }) => void socket.destroy()));
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  assert.equal((await call(gateway.url, { headers })).status, 200);
});
