import assert from 'node:assert/strict';
import { type AddressInfo, isIP, type LookupFunction } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer } from 'node:tls';
import { errors } from 'undici';
import { Http1Dispatcher } from '../../../../src/transport/http1/dispatcher.ts';
import {
  http1Dispatcher,
  type OnRequest,
  responseOf,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { createCertificateAuthority } from '../../../harness/certificates.ts';
import { eventually, soon } from '../../../harness/eventually.ts';
import { type Followed, follow } from '../../../harness/followed.ts';

const SERVED = ['start', 'response 200', 'data', 'end'];

for (const host of ['127.0.0.1', '::1']) {
  for (const [way, tls] of WAYS) {
    test(`reaches an upstream at ${host}, and sends the address as Host, over ${way}`, async (t) => {
      const authority = tls?.();
      const respond: OnRequest = (connection) => connection.send(responseOf('hello'));
      const upstream = await startBareUpstream(t, respond, { host, authority });
      const { events } = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }).ended();
      assert.deepEqual(events, SERVED);
      assert.ok(upstream.connections[0]?.received.includes(`\r\nhost: ${new URL(upstream.origin).host}\r\n`));
    });
  }

  test(`sends no server name to ${host}, and verifies its certificate`, async (t) => {
    const authority = createCertificateAuthority();
    const serverNames: unknown[] = [];
    const serve = async (hosts: string[]): Promise<number> => {
      const server = createServer(authority.issueServer({ hosts }), (socket) => {
        // `false`: the client sent no name, because an address is not a name (RFC 6066 section 3).
        serverNames.push(socket.servername);
        socket.on('data', () => socket.write(responseOf('hello')));
      });
      t.after(() => server.close());
      await new Promise<void>((resolve) => server.listen(0, host, resolve));
      return (server.address() as AddressInfo).port;
    };
    const resolve: LookupFunction = (_name, _options, found) => found(null, [{ address: host, family: isIP(host) }]);
    const dispatcher = http1Dispatcher(t, authority, { lookup: resolve, autoSelectFamily: true } as never);
    const get = async (name: string, port: number): Promise<Followed> =>
      follow(dispatcher, { origin: `https://${name}:${port}` }).ended();
    const address = isIP(host) === 6 ? `[${host}]` : host;
    const right = await serve([host, 'mcp.example']);
    assert.deepEqual((await get(address, right)).events, SERVED);
    assert.deepEqual((await get('mcp.example', right)).events, SERVED);
    assert.deepEqual(serverNames, [false, 'mcp.example']);
    const { error } = await get(address, await serve(['mcp.example', '192.0.2.1', '2001:db8::1']));
    assert.equal((error as NodeJS.ErrnoException).code, 'ERR_TLS_CERT_ALTNAME_INVALID');
  });

  test(`reaches localhost when only ${host} listens, whichever address comes first`, async (t) => {
    const both = [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ];
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')), { host });
    const origin = `http://localhost:${new URL(upstream.origin).port}`;
    for (const addresses of [both, [...both].reverse()]) {
      const resolve: LookupFunction = (_name, _options, found) => found(null, addresses);
      const dispatcher = http1Dispatcher(t, undefined, { lookup: resolve, autoSelectFamily: true } as never);
      for (let i = 0; i < 2; i += 1) assert.deepEqual((await follow(dispatcher, { origin }).ended()).events, SERVED);
    }
    assert.equal(upstream.connections.length, 2);
  });
}

test('localhost is reached by TLS where only one of its addresses listens, whichever is first', async (t) => {
  const authority = WAYS[1][1]();
  const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')), { authority });
  const origin = `https://localhost:${new URL(upstream.origin).port}`;
  const both = [
    { address: '::1', family: 6 },
    { address: '127.0.0.1', family: 4 },
  ];
  for (const addresses of [both, [...both].reverse()]) {
    const resolve: LookupFunction = (_name, _options, found) => found(null, addresses);
    const dispatcher = http1Dispatcher(t, authority, { lookup: resolve, autoSelectFamily: true } as never);
    for (let i = 0; i < 2; i += 1) assert.deepEqual((await follow(dispatcher, { origin }).ended()).events, SERVED);
  }
});

for (const upgrade of [null, 'websocket']) {
  test(`fails each ${upgrade ?? 'plain'} request and emits connectionError for an invalid client certificate`, async (t) => {
    const dispatcher = http1Dispatcher(t, undefined, { cert: 'invalid', key: 'invalid' });
    const emitted: Error[] = [];
    dispatcher.on('connectionError', (_, __, error) => emitted.push(error));
    for (const nth of [1, 2]) {
      const followed = await follow(dispatcher, { origin: 'https://127.0.0.1:1', upgrade }).ended();
      assert.deepEqual(followed.events, ['error Error']);
      assert.match((followed.error as NodeJS.ErrnoException).code ?? '', /^ERR_OSSL_PEM_/);
      assert.equal(emitted[nth - 1], followed.error);
    }
    await soon('the close', dispatcher.close());
  });
}

test('opens separate connections for each upstream', async (t) => {
  const dispatcher = http1Dispatcher(t);
  const two = [
    await startBareUpstream(t, (connection) => connection.send(responseOf('a'))),
    await startBareUpstream(t, (connection) => connection.send(responseOf('b'))),
  ];
  for (let i = 0; i < 3; i += 1) {
    const bodies = await Promise.all(two.map(({ origin }) => follow(dispatcher, { origin }).ended()));
    assert.deepEqual(
      bodies.map(({ body }) => body),
      ['a', 'b'],
    );
  }
  assert.deepEqual(
    two.map(({ connections }) => connections.length),
    [1, 1],
  );
});

/** Counts how often the dispatcher creates a pool for an origin. */
function countPools(t: TestContext, origin: string): () => number {
  const { URL: Original } = globalThis;
  let count = 0;
  class CountedUrl extends Original {
    constructor(text: string) {
      super(text);
      if (text === origin) count += 1;
    }
  }
  Object.assign(globalThis, { URL: CountedUrl });
  t.after(() => Object.assign(globalThis, { URL: Original }));
  return () => count;
}

test('keeps a pool as long as it has a connection', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')));
  const { origin } = upstream;
  const pools = countPools(t, origin);
  const dispatcher = http1Dispatcher(t);
  for (const nth of [1, 2, 3]) {
    for (let i = 0; i < 3; i += 1) await follow(dispatcher, { origin }).ended();
    assert.equal(pools(), nth);
    upstream.connections.at(-1)?.socket.end();
    await eventually('the connection is closed', () => upstream.connections.at(-1)?.isClosed === true);
    await new Promise((resolve) => setImmediate(resolve));
  }
});

test('drops the pool of an unreachable upstream', async (t) => {
  const origin = 'http://127.0.0.1:1';
  const pools = countPools(t, origin);
  const dispatcher = http1Dispatcher(t);
  for (const nth of [1, 2, 3]) {
    await follow(dispatcher, { origin }).ended();
    assert.equal(pools(), nth);
  }
});

test('sends nothing after close, and settles when requests in flight have finished', async (t) => {
  const upstream = await startBareUpstream(t);
  const dispatcher = new Http1Dispatcher({});
  t.after(() => dispatcher.destroy());
  const inFlight = follow(dispatcher, { origin: upstream.origin });
  await eventually(
    'the request is in flight',
    () => upstream.connections[0]?.received !== undefined && inFlight.events.length > 0,
  );
  let isClosed = false;
  const closed = dispatcher.close().then(() => {
    isClosed = true;
  });
  const late = await follow(dispatcher, { origin: upstream.origin }).ended();
  assert.ok(late.error instanceof errors.ClientClosedError);
  assert.equal(isClosed, false);
  upstream.connections[0]?.send(responseOf('hello'));
  assert.deepEqual((await inFlight.ended()).events, SERVED);
  await soon('the close', closed);
  assert.equal(upstream.connections.length, 1);
});

test('sends nothing after destroy, and fails requests in flight', async (t) => {
  const upstream = await startBareUpstream(t, (connection, headers) => {
    if (headers.includes('/idle')) connection.send(responseOf('hello'));
  });
  const dispatcher = new Http1Dispatcher({});
  const idle = follow(dispatcher, { origin: upstream.origin, path: '/idle' });
  const inFlight = follow(dispatcher, { origin: upstream.origin });
  await idle.ended();
  await eventually('the request is in flight', () => inFlight.events.length > 0);
  const closed = dispatcher.close();
  await dispatcher.destroy();
  const late = await follow(dispatcher, { origin: upstream.origin }).ended();
  for (const { error } of [inFlight, late]) assert.ok(error instanceof errors.ClientDestroyedError);
  await soon('the close', closed);
  await eventually('all connections are closed', () => upstream.connections.every(({ isClosed }) => isClosed));
});
