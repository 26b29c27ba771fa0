import assert from 'node:assert/strict';
import { type AddressInfo, isIP, type LookupFunction } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer } from 'node:tls';
import { errors } from 'undici';
import { Http1Dispatcher } from '../../../../src/transport/http1/dispatcher.ts';
import { answerOf, http1Dispatcher, type OnHead, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { createCertificateAuthority } from '../../../harness/certificates.ts';
import { eventually, soon } from '../../../harness/eventually.ts';
import { type Followed, follow } from '../../../harness/followed.ts';

const SERVED = ['start', 'head 200', 'data', 'end'];

for (const host of ['127.0.0.1', '::1']) {
  for (const [way, tls] of WAYS) {
    test(`an upstream at ${host} is reached by its address, and told it, by ${way}`, async (t) => {
      const authority = tls?.();
      const answer: OnHead = (connection) => connection.send(answerOf('hello'));
      const upstream = await startBareUpstream(t, answer, { host, authority });
      const { events } = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }).over();
      assert.deepEqual(events, SERVED);
      assert.ok(upstream.connections[0]?.received.includes(`\r\nhost: ${new URL(upstream.origin).host}\r\n`));
    });
  }

  test(`an upstream at ${host} is not called by that as by a name, and shows a certificate for it`, async (t) => {
    const authority = createCertificateAuthority();
    const named: unknown[] = [];
    const serve = async (hosts: string[]): Promise<number> => {
      const server = createServer(authority.issueServer({ hosts }), (socket) => {
        // `false` where no name was sent (RFC 6066 section 3: an address is none).
        named.push(socket.servername);
        socket.on('data', () => socket.write(answerOf('hello')));
      });
      t.after(() => server.close());
      await new Promise<void>((resolve) => server.listen(0, host, resolve));
      return (server.address() as AddressInfo).port;
    };
    const resolve: LookupFunction = (_name, _options, found) => found(null, [{ address: host, family: isIP(host) }]);
    const dispatcher = http1Dispatcher(t, authority, { lookup: resolve, autoSelectFamily: true } as never);
    const get = async (name: string, port: number): Promise<Followed> =>
      follow(dispatcher, { origin: `https://${name}:${port}` }).over();
    const address = isIP(host) === 6 ? `[${host}]` : host;
    const right = await serve([host, 'mcp.example']);
    assert.deepEqual((await get(address, right)).events, SERVED);
    assert.deepEqual((await get('mcp.example', right)).events, SERVED);
    assert.deepEqual(named, [false, 'mcp.example']);
    const { error } = await get(address, await serve(['mcp.example', '192.0.2.1', '2001:db8::1']));
    assert.equal((error as NodeJS.ErrnoException).code, 'ERR_TLS_CERT_ALTNAME_INVALID');
  });

  test(`localhost is reached where only ${host} listens, whichever it is first`, async (t) => {
    const both = [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ];
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')), { host });
    const origin = `http://localhost:${new URL(upstream.origin).port}`;
    for (const addresses of [both, [...both].reverse()]) {
      const resolve: LookupFunction = (_name, _options, found) => found(null, addresses);
      const dispatcher = http1Dispatcher(t, undefined, { lookup: resolve, autoSelectFamily: true } as never);
      for (let i = 0; i < 2; i += 1) assert.deepEqual((await follow(dispatcher, { origin }).over()).events, SERVED);
    }
    assert.equal(upstream.connections.length, 2);
  });
}

test('localhost is reached by TLS where only one of its addresses listens, whichever is first', async (t) => {
  const authority = WAYS[1][1]();
  const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')), { authority });
  const origin = `https://localhost:${new URL(upstream.origin).port}`;
  const both = [
    { address: '::1', family: 6 },
    { address: '127.0.0.1', family: 4 },
  ];
  for (const addresses of [both, [...both].reverse()]) {
    const resolve: LookupFunction = (_name, _options, found) => found(null, addresses);
    const dispatcher = http1Dispatcher(t, authority, { lookup: resolve, autoSelectFamily: true } as never);
    for (let i = 0; i < 2; i += 1) assert.deepEqual((await follow(dispatcher, { origin }).over()).events, SERVED);
  }
});

for (const upgrade of [null, 'websocket']) {
  test(`a certificate that is none fails ${upgrade ?? 'each'} request that it was to be shown for, and says so`, async (t) => {
    const dispatcher = http1Dispatcher(t, undefined, { cert: 'none', key: 'none' });
    const said: Error[] = [];
    dispatcher.on('connectionError', (_, __, error) => said.push(error));
    for (const nth of [1, 2]) {
      const followed = await follow(dispatcher, { origin: 'https://127.0.0.1:1', upgrade }).over();
      assert.deepEqual(followed.events, ['error Error']);
      assert.match((followed.error as NodeJS.ErrnoException).code ?? '', /^ERR_OSSL_PEM_/);
      assert.equal(said[nth - 1], followed.error);
    }
    await soon('it is closed', dispatcher.close());
  });
}

test('upstreams have connections of their own', async (t) => {
  const dispatcher = http1Dispatcher(t);
  const two = [
    await startBareUpstream(t, (connection) => connection.send(answerOf('a'))),
    await startBareUpstream(t, (connection) => connection.send(answerOf('b'))),
  ];
  for (let i = 0; i < 3; i += 1) {
    const bodies = await Promise.all(two.map(({ origin }) => follow(dispatcher, { origin }).over()));
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

/** How often the dispatcher has begun to know an origin. */
function countBeginnings(t: TestContext, origin: string): () => number {
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

test('an upstream is known as long as a connection to it is there, and forgotten with the last', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')));
  const { origin } = upstream;
  const beginnings = countBeginnings(t, origin);
  const dispatcher = http1Dispatcher(t);
  for (const nth of [1, 2, 3]) {
    for (let i = 0; i < 3; i += 1) await follow(dispatcher, { origin }).over();
    assert.equal(beginnings(), nth);
    upstream.connections.at(-1)?.socket.end();
    await eventually('its connection is closed', () => upstream.connections.at(-1)?.isClosed === true);
    await new Promise((resolve) => setImmediate(resolve));
  }
});

test('an upstream that cannot be reached is forgotten', async (t) => {
  const origin = 'http://127.0.0.1:1';
  const beginnings = countBeginnings(t, origin);
  const dispatcher = http1Dispatcher(t);
  for (const nth of [1, 2, 3]) {
    await follow(dispatcher, { origin }).over();
    assert.equal(beginnings(), nth);
  }
});

test('after close nothing is sent, and close settles when what was under way has ended', async (t) => {
  const upstream = await startBareUpstream(t);
  const dispatcher = new Http1Dispatcher({});
  t.after(() => dispatcher.destroy());
  const underWay = follow(dispatcher, { origin: upstream.origin });
  await eventually(
    'it is under way',
    () => upstream.connections[0]?.received !== undefined && underWay.events.length > 0,
  );
  let isClosed = false;
  const closed = dispatcher.close().then(() => {
    isClosed = true;
  });
  const late = await follow(dispatcher, { origin: upstream.origin }).over();
  assert.ok(late.error instanceof errors.ClientClosedError);
  assert.equal(isClosed, false);
  upstream.connections[0]?.send(answerOf('hello'));
  assert.deepEqual((await underWay.over()).events, SERVED);
  await soon('it is closed', closed);
  assert.equal(upstream.connections.length, 1);
});

test('after destroy nothing is sent, and what was under way has failed', async (t) => {
  const upstream = await startBareUpstream(t, (connection, head) => {
    if (head.includes('/free')) connection.send(answerOf('hello'));
  });
  const dispatcher = new Http1Dispatcher({});
  const free = follow(dispatcher, { origin: upstream.origin, path: '/free' });
  const underWay = follow(dispatcher, { origin: upstream.origin });
  await free.over();
  await eventually('it is under way', () => underWay.events.length > 0);
  const closed = dispatcher.close();
  await dispatcher.destroy();
  const late = await follow(dispatcher, { origin: upstream.origin }).over();
  for (const { error } of [underWay, late]) assert.ok(error instanceof errors.ClientDestroyedError);
  await soon('close settles', closed);
  await eventually('all are closed', () => upstream.connections.every(({ isClosed }) => isClosed));
});
