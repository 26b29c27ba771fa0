import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { Agent, type RequestOptions, request } from 'node:https';
import { join } from 'node:path';
import { json, text } from 'node:stream/consumers';
import { after, before, type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createLocalJWKSet, type JWK, jwtVerify } from 'jose';
import { systemClock } from '../../../src/clock/clock.ts';
import { createWorkloadApi } from '../../../src/spiffe/workload-api.ts';
import { routeTo, startTestApp } from '../../harness/app.ts';
import { startCambist } from '../../harness/cambist-process.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { echo, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { call } from '../../harness/http-call.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { keepParts, temporaryFolder } from '../../harness/lifetime.ts';
import { type SpireAgent, type SpireServer, startSpireServer } from './spire.ts';

const ID = 'spiffe://example.org/cambist';
const BILLING = 'spiffe://example.org/billing';
const PARTNER = 'spiffe://partner.example/client';
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
  const bundle = join(temporaryFolder(setup), 'partner.pem');
  await writeFile(bundle, await partner.run('bundle', 'show'));
  await server.run('bundle', 'set', '-id', 'spiffe://partner.example', '-path', bundle);
  agent = await server.startAgent(setup);
  entry = await register();
});

function register(): Promise<string> {
  const lifetimes = ['-x509SVIDTTL', String(TTL_SECONDS), '-jwtSVIDTTL', '60'];
  return server.register('/cambist', ...lifetimes, '-federatesWith', 'spiffe://partner.example');
}

/** The certificate of another workload, which verifies cambist by its SPIFFE ID. */
async function workload(t: TestContext, { run }: SpireServer, id: string): Promise<RequestOptions> {
  const folder = temporaryFolder(t);
  await run('x509', 'mint', '-spiffeID', id, '-write', folder);
  const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');
  return {
    cert: await read('svid.pem'),
    key: await read('key.pem'),
    ca: await server.run('bundle', 'show'),
    checkServerIdentity: (_host, { subjectaltname }) =>
      subjectaltname === `URI:${ID}` ? undefined : new Error(`another identity: ${subjectaltname}`),
  };
}

/** A gateway that knows agents by their SVIDs. */
async function startGateway(t: TestContext) {
  const upstream = await startFakeUpstream(t, echo);
  const app = await startTestApp(t, {
    spiffe: { socket: agent.address },
    listen: { address: '127.0.0.1:0', tls: 'spiffe' },
    agents: { certificate: true, known: { billing: { spiffe_id: BILLING }, partner: { spiffe_id: PARTNER } } },
    routes: [
      routeTo('open', upstream.url, { credential: 'none' }),
      routeTo('ledger', upstream.url, { credential: 'none', agents: ['billing'] }),
    ],
  });
  /** @returns the status, the error code, and the certificate of cambist */
  const get = (path: string, options: RequestOptions) =>
    new Promise<readonly [result: unknown, certificate: string | undefined]>((resolve) => {
      const sent = request(`${app.url}${path}`, { agent: false, ...options }, async (response) => {
        const { fingerprint256 } = (response.socket as TLSSocket).getPeerCertificate();
        const { code } = (await json(response)) as { readonly code?: string };
        resolve([code ?? response.statusCode, fingerprint256]);
      });
      sent.once('error', ({ message }) => resolve([message, undefined]));
      sent.end();
    });
  // A new agent may take longer than cambist waits at its start.
  const isServing = async () => !/handshake failure/.test(String(await get('/open', { rejectUnauthorized: false })));
  await eventually('the gateway has an SVID', isServing, 60_000, 200);
  return { app, get };
}

test('serves workloads of its own and of a federated trust domain, each as its agent', async (t) => {
  const { app, get } = await startGateway(t);
  const [billing, client] = await Promise.all([workload(t, server, BILLING), workload(t, partner, PARTNER)]);
  assert.equal((await get('/ledger', billing))[0], 200);
  assert.equal((await get('/open', client))[0], 200);
  assert.equal((await get('/ledger', client))[0], 'ERR_AGENT_NOT_ALLOWED');
  assert.equal((await get('/open', await workload(t, server, `${BILLING}/other`)))[0], 'ERR_AGENT_UNKNOWN');
  assert.match(app.logText(), /"agent":"partner"/);
});

test('serves an open connection and new ones while its certificate rotates', async (t) => {
  const { get } = await startGateway(t);
  const billing = await workload(t, server, BILLING);
  const connection = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => connection.destroy());
  const kept = { ...billing, agent: connection };
  const [first, before] = await get('/ledger', kept);
  assert.equal(first, 200);
  await eventually(
    'the next certificate',
    async () => {
      const [result, certificate] = await get('/ledger', billing);
      assert.equal(result, 200);
      return certificate !== before;
    },
    60_000,
    500,
  );
  assert.deepEqual(await get('/ledger', kept), [200, before]);
});

test('authenticates by a JWT-SVID at a server that verifies it with the keys of the trust domain', async (t) => {
  const audience = 'https://idp.example.com';
  const bundle = JSON.parse(await server.run('bundle', 'show', '-format', 'spiffe')) as { keys: JWK[] };
  const keys = createLocalJWKSet({
    keys: bundle.keys.filter(({ use }) => use === 'jwt-svid').map(({ use: _, ...key }) => key),
  });
  const accepted: string[] = [];
  const idp = await startHttpServer(async (received, response) => {
    const form = new URLSearchParams(await text(received));
    const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
    const assertion = form.get('client_assertion') ?? '';
    // draft-ietf-oauth-spiffe-client-auth section 3.1: nothing but this server is the audience.
    const claims = await jwtVerify(assertion, keys, { audience, subject: ID }).catch(() => undefined);
    const isValid = claims?.payload.aud?.toString() === audience && form.get('client_assertion_type') === type;
    if (isValid && form.get('client_id') === ID) accepted.push(assertion);
    response.writeHead(isValid ? 200 : 401, { 'content-type': 'application/json' });
    const token = { access_token: 'issued', token_type: 'Bearer', expires_in: 60 };
    response.end(JSON.stringify(isValid ? token : { error: 'invalid_client' }));
  });
  t.after(idp.close);
  const upstream = await startFakeUpstream(t, echo);
  const client_auth = { method: 'client_assertion', from: { spiffe: true }, assertion_audience: audience };
  const app = await startTestApp(t, {
    spiffe: { socket: agent.address },
    authorization_servers: { idp: { token_endpoint: `${idp.url}/token`, client_id: ID, client_auth } },
    routes: [routeTo('own', upstream.url, { credential: 'client_credentials', expect_audience: 'any' })],
  });
  assert.equal((await call(`${app.url}/own`)).status, 200);
  assert.equal(accepted.length, 1);
  assert.deepEqual(upstream.requests.at(-1)?.authorization, ['Bearer issued']);
  assert.ok(!app.logText().includes(accepted[0] ?? 'no assertion'));
});

/** The Workload API as cambist uses it, after the first SVID. */
async function watch(t: TestContext) {
  const lines: string[] = [];
  const write = (_: unknown, text: string): void => void lines.push(text);
  const api = createWorkloadApi({ address: agent.address, clock: systemClock, logger: { info: write, warn: write } });
  t.after(api.close);
  await soon('the first SVID', api.ready, 60_000);
  return { api, lines };
}

test('keeps its certificate while the socket is gone, and goes on when it is back', async (t) => {
  const { api, lines } = await watch(t);
  const first = api.svid();
  await agent.stop();
  await eventually('a log line', () => lines.length > 0);
  assert.equal(api.status().isUp, false);
  assert.equal(api.svid(), first);
  await agent.start();
  await eventually('the next certificate', () => api.status().isUp, 60_000);
  assert.notEqual(api.svid()?.certificate, first?.certificate);
  assert.deepEqual(lines, ['lost the SPIFFE agent; keeping the SVID until it expires', 'SPIFFE agent is available']);
});

test('stops using an identity when its entry is deleted, and takes the next one', async (t) => {
  const { api } = await watch(t);
  await server.run('entry', 'delete', '-entryID', entry);
  await eventually('no certificate', () => api.svid() === undefined, 60_000);
  assert.equal(api.bundles().size, 0);
  await assert.rejects(api.jwtSvid('https://idp.example.com'), /has no identity for this process: register an entry/);
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
