import assert from 'node:assert/strict';
import { isIP, type LookupFunction } from 'node:net';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { errors } from 'undici';
import {
  http1Dispatcher,
  link,
  responseOf,
  startBareUpstream,
  testWays,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { createCertificateAuthority } from '../../../harness/certificates.ts';
import { eventually, soon } from '../../../harness/eventually.ts';
import { type Followed, follow, SERVED } from '../../../harness/followed.ts';

type Address = { readonly address: string; readonly family: number };

const LOOPBACK: readonly Address[] = ['::1', '127.0.0.1'].map((address) => ({ address, family: isIP(address) }));

/** Options of a dispatcher for which every name has these addresses. */
function resolving(addresses: readonly Address[]) {
  const lookup: LookupFunction = (_name, _options, found) => found(null, [...addresses]);
  return { lookup, autoSelectFamily: true } as never;
}

for (const host of ['127.0.0.1', '::1']) {
  testWays(`reaches an upstream at ${host}, and sends the address as Host`, async (start) => {
    const { ask, origin, received } = await start(responseOf('hello'), { host });
    assert.deepEqual((await ask()).events, SERVED);
    assert.ok(received().includes(`\r\nhost: ${new URL(origin).host}\r\n`));
  });

  test(`sends no server name to ${host}, and verifies its certificate`, async (t) => {
    const authority = createCertificateAuthority();
    const serve = (hosts: string[]) => {
      const issueServer = () => authority.issueServer({ hosts });
      return startBareUpstream(t, responseOf('hello'), { host, authority: { ...authority, issueServer } });
    };
    const dispatcher = http1Dispatcher(t, authority, resolving([{ address: host, family: isIP(host) }]));
    const get = async ({ origin }: { readonly origin: string }, name?: string): Promise<Followed> =>
      follow(dispatcher, { origin: name === undefined ? origin : `https://${name}:${new URL(origin).port}` }).ended();
    const right = await serve([host, 'mcp.example']);
    assert.deepEqual((await get(right)).events, SERVED);
    assert.deepEqual((await get(right, 'mcp.example')).events, SERVED);
    // `false`: the client sent no name, because an address is not a name (RFC 6066 section 3).
    assert.deepEqual(
      right.connections.map(({ socket }) => (socket as TLSSocket).servername),
      [false, 'mcp.example'],
    );
    const { error } = await get(await serve(['mcp.example', '192.0.2.1', '2001:db8::1']));
    assert.equal((error as NodeJS.ErrnoException).code, 'ERR_TLS_CERT_ALTNAME_INVALID');
  });

  for (const [way, tls] of WAYS) {
    test(`reaches localhost when only ${host} listens, whichever address comes first, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, responseOf('hello'), { host, authority });
      const origin = upstream.origin.replace(/[^/]*(?=:\d+$)/, 'localhost');
      for (const addresses of [LOOPBACK, LOOPBACK.toReversed()]) {
        const dispatcher = http1Dispatcher(t, authority, resolving(addresses));
        for (let i = 0; i < 2; i += 1) assert.deepEqual((await follow(dispatcher, { origin }).ended()).events, SERVED);
      }
      assert.equal(upstream.connections.length, 2);
    });
  }
}

for (const upgrade of [null, 'websocket']) {
  test(`fails each ${upgrade ?? 'plain'} request for an invalid client certificate`, async (t) => {
    const dispatcher = http1Dispatcher(t, undefined, { cert: 'invalid', key: 'invalid' });
    for (let i = 0; i < 2; i += 1) {
      const followed = await follow(dispatcher, { origin: 'https://127.0.0.1:1', upgrade }).ended();
      assert.deepEqual(followed.events, ['error Error']);
      assert.match((followed.error as NodeJS.ErrnoException).code ?? '', /^ERR_OSSL_PEM_/);
    }
    await soon('the close', dispatcher.close());
  });
}

test('opens separate connections for each upstream', async (t) => {
  const dispatcher = http1Dispatcher(t);
  const two = [await startBareUpstream(t, responseOf('a')), await startBareUpstream(t, responseOf('b'))];
  for (let i = 0; i < 3; i += 1) {
    const responses = await Promise.all(two.map(({ origin }) => follow(dispatcher, { origin }).ended()));
    assert.equal(responses.map(({ body }) => body).join(), 'a,b');
  }
  for (const { connections } of two) assert.equal(connections.length, 1);
});

test('keeps a pool as long as it has a connection', async (t) => {
  const { ask, origin, connections, closed } = await link(t, responseOf('hello'));
  // The dispatcher parses an origin for each pool that it creates.
  const parsed = t.mock.method(globalThis, 'URL');
  const pools = () => parsed.mock.calls.filter(({ arguments: [text] }) => text === origin).length;
  for (const nth of [1, 2, 3]) {
    for (let i = 0; i < 3; i += 1) await ask();
    assert.equal(pools(), nth);
    connections.at(-1)?.socket.end();
    await closed(nth - 1);
    await new Promise((resolve) => setImmediate(resolve));
  }
});

test('sends nothing after close, and settles when requests in flight have finished', async (t) => {
  const { dispatcher, send, ask, connections } = await link(t);
  const inFlight = send();
  await eventually('the request is in flight', () => connections.length > 0 && inFlight.events.length > 0);
  let isClosed = false;
  const closing = dispatcher.close().then(() => {
    isClosed = true;
  });
  assert.ok((await ask()).error instanceof errors.ClientClosedError);
  assert.equal(isClosed, false);
  connections[0]?.send(responseOf('hello'));
  assert.deepEqual((await inFlight.ended()).events, SERVED);
  await soon('the close', closing);
  assert.equal(connections.length, 1);
});

test('sends nothing after destroy, and fails requests in flight', async (t) => {
  const { dispatcher, send, ask, connections } = await link(t, (connection, headers) => {
    if (headers.includes('/idle')) connection.send(responseOf('hello'));
  });
  const idle = send({ path: '/idle' });
  const inFlight = send();
  await idle.ended();
  await eventually('the request is in flight', () => inFlight.events.length > 0);
  const closing = dispatcher.close();
  await dispatcher.destroy();
  for (const { error } of [inFlight, await ask()]) assert.ok(error instanceof errors.ClientDestroyedError);
  await soon('the close', closing);
  await eventually('all connections are closed', () => connections.every(({ isClosed }) => isClosed));
});

for (const upgrade of [null, 'websocket']) {
  test(`is destroyed without waiting for the TLS handshake of ${upgrade ?? 'a plain'} request`, async (t) => {
    // Accepts connections, and never starts TLS.
    const { origin, connections, closed } = await link(t);
    const request = { origin: origin.replace('http:', 'https:'), upgrade };
    const dispatcher = http1Dispatcher(t, undefined, { timeout: 0 });
    const waiting = follow(dispatcher, request);
    await eventually('the connection', () => connections.length === 1);
    await dispatcher.destroy();
    const late = await follow(dispatcher, request).ended();
    for (const { error } of [await waiting.ended(), late]) assert.ok(error instanceof errors.ClientDestroyedError);
    await closed();
    assert.deepEqual([waiting.events, connections.length], [['error ClientDestroyedError'], 1]);
  });
}
