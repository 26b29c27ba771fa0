import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'node:tls';
import { startTestApp } from '../harness/app.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import {
  assertAllFinished,
  DISCONNECTS,
  get,
  openConnection,
  POINTS,
  post,
  startLeftBackend,
  UPGRADE,
  writeEndlessly,
} from '../harness/disconnects.ts';
import { deferred, eventually, soon } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { eventStream, neverRespond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { connectRaw, open, type RawConnection } from '../harness/http-call.ts';
import { secured } from '../harness/intercepted.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

for (const [point, bytes] of [
  ['before the response headers', get('/plain')],
  ['during its upload', post('/plain', 9, 'hello')],
  ['during its WebSocket handshake', get('/plain', UPGRADE)],
] as const) {
  test(`closes the upstream connection and reports 499 when the caller disconnects ${point}`, async (t) => {
    const { app, upstream } = await startPlainGateway(t, { handler: neverRespond });
    const connection = await connectRaw(app.url);
    connection.send(bytes);
    await eventually('the upstream has the request', () => upstream.requests.length === 1);
    connection.socket.destroy();
    await soon('the upstream sees the connection close', upstream.requests[0]?.gone ?? assert.fail());
    const [line] = await app.logged('request');
    assert.deepEqual([line?.status, line?.outcome, line?.level], [499, 'cancelled', 'info']);
  });
}

for (const [stream, handler] of [
  ['an event stream', eventStream().handler],
  ['a response that is faster than it reads', (_, response) => writeEndlessly(response)],
] as [string, UpstreamHandler][]) {
  test(`reports aborted_by "caller" when the caller disconnects during ${stream}`, async (t) => {
    const { app } = await startPlainGateway(t, { handler });
    const response = await open(`${app.url}/plain`);
    response.on('error', () => {});
    response.destroy();
    const [line] = await app.logged('request');
    assert.equal(line?.aborted_by, 'caller');
    const abortedBy = (by: string) => app.metric('cambist_requests_aborted_total', { aborted_by: by });
    assert.deepEqual([await abortedBy('caller'), await abortedBy('upstream')], [1, 0]);
  });
}

test('counts a caller that disconnects before its small body is complete as cancelled, not as failed', async (t) => {
  const { app, upstream, authorization, send } = await startGateway(t);
  await send();
  const connection = await connectRaw(app.url);
  connection.send(
    `POST /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nContent-Length: 9\r\n\r\nhell`,
  );
  await app.metricBecomes('cambist_requests_in_flight', 1);
  connection.socket.destroy();
  await app.metricBecomes('cambist_requests_in_flight', 0);
  assert.equal(await app.metric('cambist_requests_total', { outcome: 'cancelled', code: '499' }), 1);
  assert.equal(await app.metric('cambist_requests_total', { outcome: 'failed' }), 0);
  assert.equal(upstream.requests.length, 1);
});

/** A caller whose exchange is in flight until `release`. */
async function startExchange(t: TestContext) {
  const { promise: until, resolve: release } = deferred<void>();
  const gateway = await startGateway(t);
  const { app, authorizationServer, authorization } = gateway;
  authorizationServer.behaviour = { kind: 'issue', until };
  const connection = await connectRaw(app.url);
  connection.send(`GET /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually('the exchange is in flight', () => authorizationServer.requests.length === 1);
  const leave = (): Promise<void> => {
    connection.socket.destroy();
    return eventually('the request is finished', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  };
  return { ...gateway, release, leave };
}

test('sends no request upstream when the caller disconnects during the exchange, and keeps the token', async (t) => {
  const { upstream, authorizationServer, release, leave, send } = await startExchange(t);
  await leave();
  release();
  await delay(50);
  assert.equal(upstream.requests.length, 0);
  assert.equal((await send()).status, 200);
  assert.equal(authorizationServer.requests.length, 1);
});

test('continues an exchange for one caller when another caller that waits for it disconnects', async (t) => {
  const { authorizationServer, release, leave, send } = await startExchange(t);
  const staying = send();
  await leave();
  release();
  assert.equal((await staying).status, 200);
  assert.equal(authorizationServer.requests.length, 1);
});

const authority = createCertificateAuthority();
const KINDS = ['HTTP/1.1', 'HTTP/1.1 over TLS'] as const;
/** Callers that leave at the same time. Several of them flood their connection. */
const CONCURRENCY = 8;
const HOST = 'agent.svc';

/** A way in: opens what carries requests on a new connection, and writes the target of a request. */
interface WayIn {
  readonly isUnix?: boolean;
  /** Connections arrive at `intercept.listen`. */
  readonly isRedirected?: boolean;
  /** Callers come to the agent, which is the backend here. Its stall timeout is fixed, so hidden disconnects are left out. */
  readonly isInbound?: boolean;
  /** The only backend. After their first bytes, these ways lead to the same code as another one. */
  readonly kind?: (typeof KINDS)[number];
  /** Bytes that cambist does not read hide a reset too. */
  readonly hidesResets?: boolean;
  readonly enter?: (outer: RawConnection, ca: () => Promise<string>) => Promise<RawConnection>;
  readonly target: (path: string) => string;
}

async function openTunnel({ send, until }: RawConnection, port: number): Promise<void> {
  send(`CONNECT ${HOST}:${port} HTTP/1.1\r\nHost: ${HOST}:${port}\r\n\r\n`);
  await until('Established\r\n\r\n');
}

async function secureIn({ socket }: RawConnection, ca: () => Promise<string>): Promise<RawConnection> {
  socket.removeAllListeners('data');
  return secured(connect({ socket, ca: await ca(), servername: HOST }));
}

const WAYS_IN: Record<string, WayIn> = {
  'a base URL': { target: (path) => path },
  'a forward proxy': { target: (path) => `http://${HOST}${path}` },
  'a tunnel to the route': {
    async enter(outer) {
      await openTunnel(outer, 80);
      return outer;
    },
    target: (path) => path,
  },
  'TLS in a tunnel to the route': {
    hidesResets: true,
    async enter(outer, ca) {
      await openTunnel(outer, 443);
      return secureIn(outer, ca);
    },
    target: (path) => path,
  },
  'a redirected connection': { isRedirected: true, kind: 'HTTP/1.1', target: (path) => path },
  'redirected TLS': {
    isRedirected: true,
    kind: 'HTTP/1.1 over TLS',
    hidesResets: true,
    enter: (outer, ca) => secureIn(outer, ca),
    target: (path) => path,
  },
  'a Unix socket': { isUnix: true, target: (path) => path },
  'the port of the agent': { isInbound: true, kind: 'HTTP/1.1', target: (path) => path },
};

async function startApp(
  t: TestContext,
  kind: (typeof KINDS)[number],
  url: string,
  { isUnix = false, isRedirected = false, isInbound = false }: WayIn,
) {
  const authorizationServer = await startFakeAuthorizationServer(t);
  const verify = { issuer: authorizationServer.issuer, audience: 'agent' };
  const folder = temporaryFolder(t);
  const ca = writerInto(temporaryFolder(t))('ca.pem', authority.cert);
  const route = { credential: 'none', ...(kind !== 'HTTP/1.1' && { tls: { ca } }) };
  const app = await startTestApp(t, {
    intercept: { trust_dir: folder, ...(isRedirected && { listen: ['127.0.0.1:0'] }) },
    ...(isUnix && { listen: `unix:${join(folder, 'proxy.sock')}` }),
    ...(isInbound && { inbound: { listen: '127.0.0.1:0', agent: url, verify } }),
    limits: { shutdown_grace: '15s' },
    routes: Object.entries({ seen: '1h', hidden: '2s' }).map(([name, stall]) => ({
      ...route,
      name,
      match: { host: HOST, path: `/${name}` },
      upstream: `${url}/${name}`,
      timeouts: { stall },
    })),
  });
  const token = isInbound ? await authorizationServer.mint({ audience: 'agent' }) : undefined;
  return { app, token, ca: () => readFile(join(folder, 'ca.pem'), 'utf8') };
}

for (const kind of KINDS) {
  for (const [name, wayIn] of Object.entries(WAYS_IN)) {
    const { isUnix = false, isInbound = false, hidesResets = false, enter, target } = wayIn;
    if ((wayIn.kind ?? kind) !== kind) continue;
    test(`keeps nothing in flight for callers that leave through ${name}, with ${kind} to the backend`, async (t) => {
      const backend = await startLeftBackend(t, kind === 'HTTP/1.1' ? undefined : authority);
      const { app, token, ca } = await startApp(t, kind, backend.url, wayIn);
      const leaving: (() => Promise<void>)[] = [];
      const leaveAt = async (id: string, [, reach, hidden]: (typeof POINTS)[number], way: number): Promise<void> => {
        const [name, leave] = DISCONNECTS[way] as (typeof DISCONNECTS)[number];
        const isHidden = hidden !== undefined && (hidesResets || !name.includes('resets'));
        const prefix = `/${isHidden ? 'hidden' : 'seen'}/${id}`;
        if (isInbound && isHidden) return;
        const url = (wayIn.isRedirected ? app.intercepting[0] : isInbound ? app.inbound : app.url) ?? '';
        const outer = await openConnection({ url });
        t.after(() => outer.socket.destroy());
        const connection = enter === undefined ? outer : await enter(outer, ca);
        const host = (text: string): string => text.replace('Host: localhost', `Host: ${HOST}`);
        const own = (text: string): string =>
          token === undefined ? host(text) : host(text).replace('\r\n', `\r\nAuthorization: Bearer ${token}\r\n`);
        await reach({
          connection,
          send: connection.send,
          get: (path = '', more = '') => own(get(target(`${prefix}${path}`), more)),
          post: (path, bytes, body) => own(post(target(`${prefix}${path}`), bytes, body)),
          refused: (bytes) => host(post(target('/elsewhere'), bytes)),
          arrived: (count) => backend.arrived(prefix, count),
        });
        // Only a TCP connection has a reset.
        leave(name.includes('resets') ? outer.socket : connection.socket);
      };
      for (const [way, [name]] of DISCONNECTS.entries()) {
        // A Unix socket has no reset.
        if (isUnix && name.includes('resets')) continue;
        for (const [index, point] of POINTS.entries()) {
          leaving.push(() => leaveAt(`p${index}-w${way}-`, point, way));
        }
      }
      const next = leaving.values();
      await Promise.all(
        Array.from({ length: CONCURRENCY }, async () => {
          for (const leave of next) await leave();
        }),
      );
      await assertAllFinished(app);
      await backend.allClosed();
    });
  }
}
