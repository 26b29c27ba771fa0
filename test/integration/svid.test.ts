import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { Agent, type RequestOptions, request } from 'node:https';
import { json } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { status } from '@grpc/grpc-js';
import { startTestApp } from '../harness/app.ts';
import { type Certificate, createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { skippedTime } from '../harness/fake-clock.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { assertProblem } from '../harness/http-call.ts';
import type { ServerTls } from '../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import {
  der,
  type FakeSpiffeAgent,
  jwtSvid,
  message,
  startSpiffeAgent,
  svidParts,
  x509SvidResponse,
} from '../harness/spiffe-agent.ts';

const ID = 'spiffe://example.org/cambist';
const BILLING = 'spiffe://example.org/billing';
const PARTNER = 'spiffe://partner.example';
const WITHDRAWN = { code: status.PERMISSION_DENIED, details: 'no identity issued' };

/** Authorities have the same name in every trust domain, as in SPIRE by default. */
const own = createCertificateAuthority('SPIFFE');
const partner = createCertificateAuthority('SPIFFE');
const stranger = createCertificateAuthority('SPIFFE');

/** An update of the agent with this certificate of cambist. */
function update(certificate: Certificate, { ours = [own.cert], theirs = [partner.cert] } = {}): Buffer {
  const parts = { ...svidParts(ID, certificate, own.cert), bundle: der(...ours) };
  return x509SvidResponse([parts], [[PARTNER, der(...theirs)]]);
}

const server = () => own.issueServer({ hosts: [ID, '127.0.0.1'] });
const workload = (id: string, authority = own, options = {}) => authority.issueClient({ hosts: [id], ...options });

/** @param first what the agent sends from the start. Without it, the agent knows no identity of cambist. */
async function start(t: TestContext, first: Buffer | typeof WITHDRAWN = update(server())) {
  const agent = await startSpiffeAgent(t);
  agent.send(first);
  const listen = { address: '127.0.0.1:0', tls: 'spiffe' };
  const gateway = await startPlainGateway(t, { top: { spiffe: { socket: agent.address }, listen } });
  const get = (options: RequestOptions) => send(gateway.app.url, options);
  const result = async (options: RequestOptions) => (await get(options)).result;
  /** Makes the agent send an update, and waits until cambist has it. */
  const deliver = async (next: Buffer | typeof WITHDRAWN, isApplied: () => Promise<boolean>): Promise<void> => {
    agent.send(next);
    await eventually('the update', isApplied);
  };
  return { ...gateway, get, result, deliver };
}

/** @returns the status and the error code, or the error of the connection; and the certificate of cambist */
async function send(url: string, options: RequestOptions) {
  return new Promise<{ readonly result: unknown; readonly peer: string | undefined }>((resolve) => {
    const sent = request(`${url}/plain`, { agent: false, ca: own.cert, ...options }, async (response) => {
      const { fingerprint256: peer } = (response.socket as TLSSocket).getPeerCertificate();
      const { code } = (await json(response).catch(() => ({}))) as { readonly code?: string };
      resolve({ result: code ?? response.statusCode, peer });
    });
    sent.once('error', () => resolve({ result: 'refused', peer: undefined }));
    sent.end();
  });
}

/** One connection for all its requests. */
function kept(t: TestContext, certificate: Certificate): RequestOptions {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  return { agent, ...certificate };
}

test('an SVID of a client is valid by the bundle of its own trust domain alone', async (t) => {
  const { app, result } = await start(t);
  assert.equal(await result(workload(BILLING)), 200);
  assert.equal(await result(workload(`${PARTNER}/client`, partner)), 200);
  for (const [name, options] of Object.entries({
    'an ID of our trust domain, signed by a federated one': workload(BILLING, partner),
    'an ID of a federated trust domain, signed by ours': workload(`${PARTNER}/client`),
    'an ID of a trust domain without a bundle': workload('spiffe://other.example/client'),
    'another authority': workload(BILLING, stranger),
    'two URIs': own.issueClient({ hosts: [BILLING, ID] }),
    'no URI': own.issueClient(),
    'a trust domain in place of a workload': workload('spiffe://example.org'),
    expired: workload(BILLING, own, { validFromSeconds: -7200, validUntilSeconds: -3600 }),
    'not valid yet': workload(BILLING, own, { validFromSeconds: 1800 }),
    'no certificate': {},
  })) {
    assert.equal(await result(options), 'refused', name);
  }
  assert.match(app.logText(), /listen: refused a TLS client: no trusted issuer vouches for its certificate/);
});

test('connections stay when the SVID and bundles change, and each request is verified by the current ones', async (t) => {
  const { result, get, deliver } = await start(t);
  const billing = kept(t, workload(BILLING));
  const client = kept(t, workload(`${PARTNER}/client`, partner));
  const before = await get(billing);
  assert.equal(before.result, 200);
  assert.equal(await result(client), 200);

  const next = createCertificateAuthority('SPIFFE');
  const both = { ours: [own.cert, next.cert] };
  const certificate = next.issueServer({ hosts: [ID, '127.0.0.1'] });
  const fresh = { ...workload(BILLING, next), ca: next.cert };
  await deliver(update(certificate, both), async () => (await result(fresh)) === 200);
  assert.deepEqual(await get(billing), before);
  assert.equal(await result(client), 200);

  const revoked = { ours: [next.cert], theirs: [own.cert] };
  await deliver(update(certificate, revoked), async () => (await result(client)) === 'ERR_AGENT_UNKNOWN');
  // Its issuer is now that of the federated trust domain, which vouches for no ID of example.org.
  assert.equal(await result(billing), 'ERR_AGENT_UNKNOWN');
  assert.equal(await result({ ...workload(BILLING), ca: next.cert }), 'refused');
  assert.equal(await result(fresh), 200);
});

test('stops using its SVID when the agent withdraws it', async (t) => {
  const { result, deliver } = await start(t);
  const billing = kept(t, workload(BILLING));
  assert.equal(await result(billing), 200);
  await deliver(WITHDRAWN, async () => (await result(billing)) === 'ERR_AGENT_UNKNOWN');
  assert.equal(await result(workload(BILLING)), 'refused');
});

test('stops serving connections when its SVID expires', async (t) => {
  const skip = skippedTime(t);
  const { result } = await start(t);
  const unchecked = { ...workload(BILLING), rejectUnauthorized: false };
  assert.equal(await result(unchecked), 200);
  skip(3_600_000);
  assert.equal(await result(unchecked), 'refused');
});

test('refuses every handshake until the first SVID', async (t) => {
  const { result, deliver } = await start(t, WITHDRAWN);
  assert.equal(await result(workload(BILLING)), 'refused');
  await deliver(update(server()), async () => (await result(workload(BILLING))) === 200);
});

const AUDIENCE = 'https://idp.example.com';

/** Responds to each request for a JWT-SVID with a new one. @returns the tokens so far */
function issueJwts(agent: FakeSpiffeAgent, audience: string, seconds = 300): string[] {
  const issued: string[] = [];
  agent.onJwt(() => {
    const claims = { sub: ID, aud: [audience], exp: Math.floor(Date.now() / 1000) + seconds, jti: issued.length };
    const token = jwtSvid(claims);
    issued.push(token);
    return message([1, message([1, ID], [2, token])]);
  });
  return issued;
}

interface Exchanging {
  readonly tls?: ServerTls;
  readonly server: Readonly<Record<string, unknown>>;
  readonly route?: Readonly<Record<string, unknown>>;
}

/** cambist with an agent, an authorization server and a backend. */
async function startExchanging(t: TestContext, first: Certificate, { tls, server, route = {} }: Exchanging) {
  const agent = await startSpiffeAgent(t);
  agent.send(update(first));
  const ca = writerInto(temporaryFolder(t))('ca.pem', stranger.cert);
  const jwts = issueJwts(agent, AUDIENCE);
  const authorizationServer = await startFakeAuthorizationServer(t, tls && { tls });
  const client = { token_endpoint: authorizationServer.tokenEndpoint, client_id: 'cambist', ...server };
  const local = { ...client, ...(tls !== undefined && { tls: { ca } }) };
  const top = { spiffe: { socket: agent.address }, authorization_servers: { local } };
  const gateway = await startGateway(t, { authorizationServer, route, top });
  const send = async () => gateway.send({ authorization: `Bearer ${await authorizationServer.mint()}` });
  const forms = () => authorizationServer.requests.map(({ form }) => form);
  return { ...gateway, agent, jwts, send, forms };
}

test('authenticates by its X.509-SVID, and by the next one after a rotation', async (t) => {
  const tls = { ...stranger.issueServer(), clientCa: partner.cert };
  const client_auth = { method: 'tls_client_auth', from: { spiffe: true } };
  const { agent, send, forms } = await startExchanging(t, workload(ID), { tls, server: { client_auth } });
  assertProblem(await send(), 'ERR_STS_UNAVAILABLE');
  agent.send(update(workload(ID, partner)));
  await eventually('the next certificate', async () => (await send()).status === 200);
  assert.equal(forms()[0]?.get('client_id'), 'cambist');
  agent.send(WITHDRAWN);
  await eventually('no certificate', async () => (await send()).text.includes('ERR_CREDENTIAL_UNAVAILABLE'));
});

test('sends no token request with an expired SVID', async (t) => {
  const skip = skippedTime(t);
  const tls = { ...stranger.issueServer(), clientCa: own.cert };
  const client_auth = { method: 'tls_client_auth', from: { spiffe: true } };
  const first = workload(ID, own, { validUntilSeconds: 60 });
  const { app, send } = await startExchanging(t, first, { tls, server: { client_auth } });
  assert.equal((await send()).status, 200);
  skip(60_000);
  assertProblem(await send(), 'ERR_CREDENTIAL_UNAVAILABLE');
  assert.match(app.logText(), /let the SVID expire/);
});

test('authenticates by a JWT-SVID, which it requests once', async (t) => {
  const client_auth = { method: 'client_assertion', from: { spiffe: true }, assertion_audience: AUDIENCE };
  const { app, agent, jwts, send, forms } = await startExchanging(t, workload(ID), { server: { client_auth } });
  for (let count = 0; count < 2; count++) assert.equal((await send()).status, 200);
  for (const form of forms()) {
    assert.equal(form.get('client_assertion'), jwts[0]);
    assert.equal(form.get('client_assertion_type'), 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe');
  }
  assert.deepEqual([forms().length, agent.jwtRequests.length], [2, 1]);
  assert.match(
    await app.metrics(),
    /cambist_credential_expiry_timestamp_seconds\{credential="client assertion of authorization server \\"local\\""\} \d/,
  );
  // It stays valid while the agent is gone.
  agent.stop();
  await eventually('the log line', () => /lost the SPIFFE agent/.test(app.logText()));
  assert.equal((await send()).status, 200);
  assert.doesNotMatch(app.logText(), new RegExp(jwts[0] ?? ''));
});

test('sends JWT-SVIDs as subject token and as actor token', async (t) => {
  const svid = { from: 'spiffe', audience: AUDIENCE };
  const client_auth = { method: 'none' };
  for (const key of ['subject_token', 'actor_token']) {
    const { jwts, send, forms } = await startExchanging(t, workload(ID), {
      server: { client_auth },
      route: { [key]: svid },
    });
    assert.equal((await send()).status, 200);
    const [form] = forms();
    assert.equal(form?.get(key), jwts[0]);
    assert.equal(form?.get(`${key}_type`), 'urn:ietf:params:oauth:token-type:jwt');
  }
});

test('is not ready without the JWT-SVID of a route, whose callers get 503', async (t) => {
  const route = { subject_token: { from: 'spiffe', audience: 'https://other.example.com' } };
  const parts = await startExchanging(t, workload(ID), { server: { client_auth: { method: 'none' } }, route });
  assertProblem(await parts.send(), 'ERR_CREDENTIAL_UNAVAILABLE');
  assert.match(parts.app.logText(), /sent an invalid SVID: the token is for another audience/);
  const { status: readiness, checks } = await parts.app.readiness();
  assert.deepEqual([readiness, checks['routes.github.subject_token']], [503, 'ERR_CREDENTIAL_UNAVAILABLE']);
});

test('is ready with an SVID, shows its expiry, and says when the agent is gone', async (t) => {
  const agent = await startSpiffeAgent(t);
  const routes = [{ name: 'none', match: { path: '/' }, upstream: 'http://127.0.0.1:9', credential: 'none' }];
  const app = await startTestApp(t, { spiffe: { socket: agent.address }, routes });
  await eventually('the failed check', async () => (await app.readiness()).checks.spiffe !== 'waiting');
  const checks = { spiffe: 'ERR_CREDENTIAL_UNAVAILABLE' };
  assert.deepEqual(await app.readiness(), { status: 503, ready: false, checks });
  assert.equal(await app.metric('cambist_spiffe_up'), 0);
  assert.match(app.logText(), /has no identity for this process: register an entry/);

  const ours = workload(ID);
  agent.send(update(ours));
  await eventually('ready', async () => (await app.readiness()).status === 200);
  assert.equal(await app.metric('cambist_spiffe_up'), 1);
  const expiry = await app.metric('cambist_spiffe_certificate_expiry_timestamp_seconds');
  assert.equal(expiry, Date.parse(new X509Certificate(ours.cert).validTo) / 1000);

  agent.stop();
  await app.metricBecomes('cambist_spiffe_up', 0);
  assert.equal((await app.readiness()).status, 200);
  assert.match(app.logText(), /lost the SPIFFE agent; keeping the SVID until it expires/);
  assert.doesNotMatch(app.logText(), /PRIVATE KEY/);

  assert.deepEqual(app.reloadTo({ spiffe: { socket: 'unix:///other.sock' }, routes }), ['spiffe']);
});
