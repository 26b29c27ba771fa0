import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent } from 'node:https';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { createCertificateAuthority, listenerTls } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { startInboundGateway, startPlainGateway } from '../harness/gateway.ts';
import { type CallOptions, call } from '../harness/http-call.ts';
import { freePort } from '../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const authority = createCertificateAuthority();
const stranger = createCertificateAuthority('another CA');

interface Setup {
  /** Without it, clients need no certificate. */
  readonly clientCertificate?: 'required' | 'optional';
  readonly top?: Readonly<Record<string, unknown>>;
}

/** cambist with TLS on `listen`. `write` replaces a file of the listener. */
async function start(t: TestContext, { clientCertificate, top }: Setup = {}) {
  const folder = temporaryFolder(t);
  const { client_ca, ...own } = listenerTls(folder, authority);
  const tls = clientCertificate === undefined ? own : { ...own, client_ca, client_certificate: clientCertificate };
  const gateway = await startPlainGateway(t, { top: { listen: { address: '127.0.0.1:0', tls }, ...top } });
  return { ...gateway, write: writerInto(folder) };
}

/** @returns the status, or the error */
const get = (url: string, options: CallOptions = {}): Promise<number | string> =>
  call(`${url}/plain`, { ca: authority.cert, ...options }).then(({ status }) => status, String);

async function connected(t: TestContext, url: string, options: object = {}): Promise<TLSSocket> {
  const socket = connectTls({ port: Number(new URL(url).port), host: '127.0.0.1', ca: authority.cert, ...options });
  t.after(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

test('serves https, and says why a client that speaks plain HTTP or TLS 1.1 gets nothing', async (t) => {
  const { app } = await start(t);
  assert.match(app.url, /^https:/);
  assert.equal(await get(app.url), 200);
  assert.equal(typeof (await get(app.url, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' })), 'string');
  const plain = connect(Number(new URL(app.url).port), '127.0.0.1');
  plain.end('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await text(plain).catch(() => undefined);
  await eventually('the log line', () => /listen: refused a TLS client: it speaks plain HTTP/.test(app.logText()));
  // A probe that only connects is not refused.
  await text(connect(Number(new URL(app.url).port), '127.0.0.1').end());
  assert.equal(await app.metric('cambist_tls_refusals_total', { listener: 'listen' }), 2);
});

for (const clientCertificate of ['required', 'optional'] as const) {
  test(`a client certificate that is ${clientCertificate} must be valid`, async (t) => {
    const { app } = await start(t, { clientCertificate });
    const withoutOne = await get(app.url);
    if (clientCertificate === 'optional') assert.equal(withoutOne, 200);
    else assert.equal(typeof withoutOne, 'string');
    assert.equal(await get(app.url, authority.issueClient()), 200);
    if (clientCertificate === 'required') {
      await eventually('the log line', () => /refused a TLS client: it sent no certificate/.test(app.logText()));
    }
    const invalid = {
      UNABLE_TO_VERIFY_LEAF_SIGNATURE: stranger.issueClient(),
      INVALID_PURPOSE: authority.issueServer(),
      CERT_HAS_EXPIRED: authority.issueClient({ validFromSeconds: -7200, validUntilSeconds: -3600 }),
      CERT_NOT_YET_VALID: authority.issueClient({ validFromSeconds: 1800 }),
    };
    for (const [reason, certificate] of Object.entries(invalid)) {
      assert.equal(typeof (await get(app.url, certificate)), 'string', reason);
      const line = new RegExp(`refused a TLS client.*${reason}`);
      await eventually(`the log line of ${reason}`, () => line.test(app.logText()));
    }
  });
}

test('signals.listen checks the certificate of a client at each request, and counts those that it refuses', async (t) => {
  const folder = temporaryFolder(t);
  const tls = listenerTls(folder, authority);
  const idp = {
    issuer: 'https://idp.example.com',
    jwks_uri: 'https://idp.example.com/keys',
    audience: 'cambist',
    backchannel_logout: true,
  };
  const { app } = await startPlainGateway(t, {
    top: { signals: { listen: { address: '127.0.0.1:0', tls }, transmitters: { idp } } },
  });
  const at = app.signals ?? '';
  const earlier = await connected(t, at, authority.issueClient());
  const later = await connected(t, at, authority.issueClient());
  const logout = 'POST /logout/idp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n';
  earlier.write(logout);
  assert.match(await text(earlier), /^HTTP\/1.1 400 /);
  writerInto(folder)('clients.pem', stranger.cert);
  app.reopenFiles();
  // A handshake that began before the new CA is refused for another reason.
  await eventually('a refusal by the new CA', async () => {
    const isRefused = typeof (await get(at, authority.issueClient())) === 'string';
    return isRefused && app.logText().includes('signals.listen: refused a TLS client: its certificate is not accepted');
  });
  assert.ok((await app.metric('cambist_tls_refusals_total', { listener: 'signals.listen' })) > 0);
  later.write(logout);
  assert.match(await text(later), /^HTTP\/1.1 403 [\s\S]*access_denied/);
});

test('callers at inbound.listen need a certificate that is valid at each request, and no identity of an agent', async (t) => {
  const folder = temporaryFolder(t);
  const tls = listenerTls(folder, authority);
  const inbound = { listen: { address: '127.0.0.1:0', tls } };
  const token = { header: 'x-agent-token', issuer: 'https://cluster.example.com', audience: 'cambist' };
  const agents = { token, known: { billing: { subject: 'billing' } } };
  const { app, url, mint, agent } = await startInboundGateway(t, { inbound, top: { agents } });
  const authorization = `Bearer ${await mint()}`;
  const kept = { ...authority.issueClient(), agent: new Agent({ keepAlive: true, maxSockets: 1 }) };
  t.after(() => kept.agent.destroy());
  const send = (options: CallOptions) => get(url, { headers: { authorization }, ...options });
  assert.equal(await send(kept), 200);
  assert.equal(await send({ ...kept, headers: {} }), 401);
  assert.equal(typeof (await send({})), 'string');
  writerInto(folder)('clients.pem', stranger.cert);
  app.reopenFiles();
  const statuses = [200];
  await eventually('the new CA', async () => {
    statuses.push(Number(await send(kept)));
    return statuses.at(-1) === 401;
  });
  assert.equal(agent.requests.length, statuses.filter((status) => status === 200).length);
});

test('a session is not resumed where clients have certificates', async (t) => {
  for (const [isMutual, version] of [
    [false, 'TLSv1.3'],
    [true, 'TLSv1.3'],
    [true, 'TLSv1.2'],
  ] as const) {
    const { app } = await start(t, isMutual ? { clientCertificate: 'required' } : {});
    const options = { ...authority.issueClient(), maxVersion: version };
    const first = await connected(t, app.url, options);
    const sessions = [first.getSession()];
    first.on('session', (ticket) => sessions.push(ticket));
    first.write('GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(first, 'data');
    first.destroy();
    const second = await connected(t, app.url, { ...options, session: sessions.at(-1) });
    assert.equal(second.isSessionReused(), !isMutual, `${isMutual} ${version}`);
  }
});

test('a client with a certificate cannot renegotiate', async (t) => {
  const { app } = await start(t, { clientCertificate: 'required' });
  const client = await connected(t, app.url, { ...authority.issueClient(), maxVersion: 'TLSv1.2' });
  const error = await new Promise<Error | null>((resolve) => {
    client.on('error', resolve);
    client.renegotiate({}, resolve);
  });
  assert.match(String(error), /no renegotiation/i);
});

test('new connections get a certificate that has changed, and an invalid one changes nothing', async (t) => {
  const { app, write } = await start(t);
  const next = createCertificateAuthority('the next CA');
  const server = next.issueServer();
  write('tls.crt', server.cert);
  write('tls.key', server.key);
  app.reopenFiles();
  await eventually('the new certificate', async () => (await get(app.url, { ca: next.cert })) === 200);
  write('tls.crt', authority.issueServer().cert);
  app.reopenFiles();
  await app.logged('listen: TLS files are invalid; keeping the previous ones');
  assert.match(app.logText(), /"message":"invalid TLS files of listen: each must be PEM/);
  assert.equal(await get(app.url, { ca: next.cert }), 200);
  const expiry = { credential: 'certificate of listen' };
  assert.ok((await app.metric('cambist_credential_expiry_timestamp_seconds', expiry)) > 0);
});

test('a handshake that does not finish gives way to a new connection', async (t) => {
  const { app } = await start(t, { top: { limits: { max_in_flight: 1, max_connections: 2 } } });
  const port = Number(new URL(app.url).port);
  const slow = [1, 2].map(() => connect(port, '127.0.0.1'));
  t.after(() => slow.forEach((socket) => void socket.destroy()));
  for (const socket of slow) {
    await once(socket, 'connect');
    socket.write(Buffer.from([0x16, 3, 1, 0, 200]));
    socket.on('error', () => {});
  }
  await eventually('a response', async () => (await get(app.url)) === 200);
});

test('tells its connections from those of intercept.listen with the same port of the client', async (t) => {
  const intercept = { trust_dir: temporaryFolder(t), listen: ['127.0.0.1:0'] };
  const { app } = await start(t, { top: { intercept } });
  const localPort = await freePort();
  const open = (url = '') => connect({ host: '127.0.0.1', port: Number(new URL(url).port), localPort });
  const first = open(app.url);
  await once(first, 'connect');
  const second = open(app.intercepting[0]);
  second.end('GET /plain HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n');
  assert.match(await text(second), /^HTTP\/1\.1 403 /);
  assert.equal(first.destroyed, false);
  first.destroy();
});

test('a request that offers another protocol is served', async (t) => {
  const { app } = await start(t);
  const agent = await connected(t, app.url);
  agent.write('GET /plain HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n');
  const [response] = await once(agent, 'data');
  assert.match(String(response), /^HTTP\/1.1 200/);
});
