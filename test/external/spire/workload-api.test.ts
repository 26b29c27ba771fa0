import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { createLocalJWKSet, type JWK, jwtVerify } from 'jose';
import { systemClock } from '../../../src/clock/clock.ts';
import { spiffeIdOf } from '../../../src/spiffe/spiffe-id.ts';
import { createWorkloadApi, type WorkloadApi } from '../../../src/spiffe/workload-api.ts';
import { startCambist } from '../../harness/cambist-process.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { keepParts, temporaryFolder } from '../../harness/lifetime.ts';
import { type SpireAgent, type SpireServer, startSpireServer } from './spire.ts';

const ID = 'spiffe://example.org/cambist';
const AUDIENCE = 'https://idp.example.com';
/** The agent replaces a certificate after half of its lifetime. */
const TTL_SECONDS = 20;

const setup = keepParts();
after(setup.close);
let server: SpireServer;
let partner: SpireServer;
let agent: SpireAgent;
let entry: string;

before(async () => {
  [server, partner] = await Promise.all([
    startSpireServer(setup, 'example.org'),
    startSpireServer(setup, 'partner.example'),
  ]);
  const folder = temporaryFolder(setup);
  await writeFile(join(folder, 'partner.pem'), await partner.run('bundle', 'show'));
  await server.run('bundle', 'set', '-id', 'spiffe://partner.example', '-path', join(folder, 'partner.pem'));
  agent = await server.startAgent(setup);
  entry = await register();
});

function register(): Promise<string> {
  const lifetimes = ['-x509SVIDTTL', String(TTL_SECONDS), '-jwtSVIDTTL', '60'];
  return server.register('/cambist', ...lifetimes, '-federatesWith', 'spiffe://partner.example');
}

interface Watched {
  readonly api: WorkloadApi;
  readonly lines: readonly string[];
}

async function watch(t: TestContext): Promise<Watched> {
  const lines: string[] = [];
  const write = (_: unknown, text: string): void => void lines.push(text);
  const api = createWorkloadApi({ address: agent.address, clock: systemClock, logger: { info: write, warn: write } });
  t.after(api.close);
  await soon('the first SVID', api.ready, 60_000);
  return { api, lines };
}

const certificate = (api: WorkloadApi): string | undefined => api.svid()?.certificate;

test('receives a certificate, and the next one before it expires', async (t) => {
  const { api } = await watch(t);
  assert.equal(api.svid()?.spiffeId.id, ID);
  const first = certificate(api);
  const expiresAtMs = api.svid()?.expiresAtMs ?? 0;
  assert.ok(expiresAtMs - Date.now() <= 1000 * (TTL_SECONDS + 1));
  let changes = 0;
  api.changed(() => changes++);
  await eventually('the next certificate', () => certificate(api) !== first, 60_000);
  assert.ok(Date.now() < expiresAtMs);
  assert.ok(changes > 0);
  const [own = ''] = api.bundles().get('example.org') ?? [];
  assert.ok(new X509Certificate(certificate(api) ?? '').verify(new X509Certificate(own).publicKey));
});

/** Connects a workload of the partner to cambist's certificate. */
async function handshake(t: TestContext, api: WorkloadApi, ca: readonly string[] = []) {
  const folder = temporaryFolder(t);
  await partner.run('x509', 'mint', '-spiffeID', 'spiffe://partner.example/client', '-write', folder);
  const svid = api.svid();
  assert.ok(svid !== undefined);
  const credentials = { cert: svid.certificate, key: svid.privateKey.reveal(), ca: [...ca] };
  const listener = createServer({ ...credentials, requestCert: true, rejectUnauthorized: false });
  t.after(() => listener.close());
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const client = connect({
    port: (listener.address() as AddressInfo).port,
    cert: await readFile(join(folder, 'svid.pem')),
    key: await readFile(join(folder, 'key.pem')),
    ca: await server.run('bundle', 'show'),
    checkServerIdentity: () => undefined,
  });
  t.after(() => client.destroy());
  const [[socket]] = await Promise.all([
    once(listener, 'secureConnection') as Promise<[TLSSocket]>,
    once(client, 'secureConnect'),
  ]);
  t.after(() => socket.destroy());
  const ids = [socket, client].map((each) => each.getPeerX509Certificate()).map((peer) => peer && spiffeIdOf(peer)?.id);
  return { isTrusted: socket.authorized, ids };
}

test('trusts a workload of a federated trust domain, by the bundle of that one alone', async (t) => {
  const { api } = await watch(t);
  await eventually('the bundle of the partner', () => api.bundles().has('partner.example'));
  const ids = ['spiffe://partner.example/client', ID];
  assert.deepEqual(await handshake(t, api, api.bundles().get('partner.example')), { isTrusted: true, ids });
  assert.deepEqual(await handshake(t, api, api.bundles().get('example.org')), { isTrusted: false, ids });
});

test('fetches a token for an audience, which the keys of the trust domain verify', async (t) => {
  const { api } = await watch(t);
  const { token, expiresAtMs } = await api.jwtSvid(AUDIENCE);
  const bundle = JSON.parse(await server.run('bundle', 'show', '-format', 'spiffe')) as { keys: JWK[] };
  const keys = bundle.keys.filter(({ use }) => use === 'jwt-svid').map(({ use: _, ...key }) => key);
  const { payload } = await jwtVerify(token.reveal(), createLocalJWKSet({ keys }), { audience: AUDIENCE, subject: ID });
  assert.equal(expiresAtMs, 1000 * (payload.exp ?? 0));
  assert.equal((await api.jwtSvid(AUDIENCE)).token, token);
  assert.notEqual((await api.jwtSvid('https://other.example.com')).token, token);
});

test('keeps its certificate while the socket is gone, and goes on when it is back', async (t) => {
  const { api, lines } = await watch(t);
  const first = api.svid();
  await agent.stop();
  await eventually('a log line', () => lines.length > 0);
  assert.equal(api.status().isUp, false);
  assert.equal(api.svid(), first);
  await agent.start();
  await eventually('the next certificate', () => api.status().isUp, 60_000);
  assert.notEqual(certificate(api), first?.certificate);
  assert.deepEqual(lines, ['lost the SPIFFE agent; keeping the SVID until it expires', 'SPIFFE agent is available']);
});

test('stops using an identity when its entry is deleted, and takes the next one', async (t) => {
  const { api } = await watch(t);
  await server.run('entry', 'delete', '-entryID', entry);
  await eventually('no certificate', () => api.svid() === undefined, 60_000);
  assert.equal(api.bundles().size, 0);
  await assert.rejects(api.jwtSvid(AUDIENCE), /has no identity for this process: register an entry/);
  entry = await register();
  await eventually('a certificate', () => api.svid() !== undefined, 60_000);
});

test('the built program is ready with its identity, and its metrics follow the rotation', async (t) => {
  const routes = [{ name: 'none', match: { path: '/' }, upstream: 'http://127.0.0.1:9', credential: 'none' }];
  const cambist = await startCambist(t, { config: { spiffe: { socket: agent.address }, routes } });
  await cambist.ready(60_000);
  assert.equal(await cambist.metric('cambist_spiffe_up'), 1);
  const expiry = () => cambist.metric('cambist_spiffe_certificate_expiry_timestamp_seconds');
  const first = await expiry();
  await eventually('a later expiry', async () => (await expiry()) > first, 60_000, 500);
  assert.doesNotMatch(`${cambist.stdout()}${cambist.stderr()}`, /PRIVATE KEY/);
});
