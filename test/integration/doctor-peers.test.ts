import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ReportedFinding } from '../../src/commands/doctor.ts';
import { checkTrust } from '../../src/doctor/check-trust.ts';
import { configOf, startTestApp } from '../harness/app.ts';
import { createCertificateAuthority, listenerTls } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { respond, startFakeUpstream, startRawUpstream } from '../harness/fake-upstream.ts';
import { freePort } from '../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import { jwtSvid, message, startSpiffeAgent, svidParts, x509SvidResponse } from '../harness/spiffe-agent.ts';
import { assertFinds, publicServer, route, runDoctor, startServer } from './doctor-run.ts';

const AUTHORITY = createCertificateAuthority('Example Corp CA');

const OPEN = route('open', { audience: undefined, credential: 'none' });

test('reports a server without a response', async (t) => {
  const silent = await startFakeAuthorizationServer(t);
  silent.metadataBehaviour = { kind: 'hang' };
  const main = publicServer(silent.issuer, { timeout: '200ms' });
  const hung = await runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
  assert.equal(hung.problems[0], 'error connection_timeout');
});

const SECRETS: Readonly<Record<string, (secret: object) => object>> = {
  'decisions.http.secret': (secret) => ({ decisions: { http: { listen: '127.0.0.1:0', secret } } }),
  'audit.pseudonymize.key': (key) => ({ audit: { to: 'stdout', pseudonymize: { key } } }),
};
for (const [path, configWith] of Object.entries(SECRETS)) {
  test(`finds that ${path} cannot be read, or is too short for a key`, async (t) => {
    const file = join(temporaryFolder(t), 'secret');
    const run = () => runDoctor(t, { routes: [OPEN], ...configWith({ file }) });
    assertFinds(await run(), ['error credential_unavailable'], new RegExp(`^${path}: file "${file}" cannot be read`));
    writeFileSync(file, 'short');
    const isKey = path.endsWith('key');
    assert.deepEqual((await run()).problems, isKey ? ['error credential_unavailable'] : []);
  });
}

async function withAgent(t: TestContext, agent: string, more: Record<string, unknown> = {}) {
  const { issuer } = await startFakeAuthorizationServer(t);
  const result = await runDoctor(t, {
    authorization_servers: { local: publicServer(issuer) },
    routes: [OPEN],
    inbound: { listen: '127.0.0.1:0', agent, verify: { issuer, audience: 'agent' }, ...more },
  });
  const { problems } = result;
  return { ...result, problems: problems.filter((problem) => problem.includes('agent')) };
}

test('reaches an agent that responds, on an open path, and checks the keys of its callers', async (t) => {
  const agent = await startFakeUpstream(t, respond(404));
  const result = await withAgent(t, agent.url, { open: ['/public/*', '/healthz'] });
  assert.deepEqual(result.problems, []);
  assert.deepEqual(result.finding('agent_reached').about, { kind: 'agent', name: '' });
  assert.ok(result.finding('keys_found'));
  const asked = agent.requests.map(({ method, url, authorization }) => [method, url, authorization]);
  assert.deepEqual(asked, [['GET', '/healthz', []]]);
});

test('finds an agent that does not listen, on a port or a socket', async (t) => {
  const agent = await startFakeUpstream(t, respond(200));
  await agent.close();
  for (const where of [agent.url, 'unix:/nowhere/agent.sock']) {
    assertFinds(await withAgent(t, where), ['error agent_unreachable'], /nothing listens there.*PORT/);
  }
});

test('finds an agent that fails, does not respond, or does not speak HTTP', async (t) => {
  const failing = await startFakeUpstream(t, respond(503));
  assert.deepEqual((await withAgent(t, failing.url)).problems, ['warning agent_error']);
  for (const [sent, says] of [
    ['', /did not respond in time/],
    ['E: not for you\r\n', /does not respond in plain HTTP/],
  ] as const) {
    const { url } = await startRawUpstream(t, sent, sent === '' ? 'keep' : 'end');
    assertFinds(await withAgent(t, url), ['error agent_unreachable'], says);
  }
});

/** Runs the doctor with a store that is not there. */
async function runWithStore(t: TestContext, text: string, more: object = {}) {
  const shared = { url: `redis://127.0.0.1:${await freePort()}`, key: writerInto(temporaryFolder(t))('key', text) };
  return runDoctor(t, { cache: { shared }, routes: [OPEN], ...more });
}

const KEY = 'a key that is long enough by any measure';

test('finds a store that is not there, and a key that is too short', async (t) => {
  const short = await runWithStore(t, 'short');
  assert.deepEqual(short.problems, ['error credential_unavailable', 'error shared_cache_unavailable']);
  const away = await runWithStore(t, KEY);
  assertFinds(away, ['error shared_cache_unavailable'], / unreachable: ECONNREFUSED .*start the server/);
  assert.deepEqual(away.finding('shared_cache_unavailable').about, { kind: 'shared_cache', name: '' });
});

test('says that replicas cannot share revocations', async (t) => {
  const idp = { issuer: 'http://127.0.0.1:9', audience: 'cambist', backchannel_logout: true };
  const { finding } = await runWithStore(t, KEY, { signals: { listen: '127.0.0.1:0', transmitters: { idp } } });
  assert.match(finding('shared_cache_unavailable').what, /share no revocations/);
});

test('checks the TLS of each listener', async (t) => {
  const { client_ca: _none, ...tls } = listenerTls(temporaryFolder(t), AUTHORITY);
  const { findings } = await runDoctor(t, {
    listen: { address: '127.0.0.1:0', tls },
    admin: { address: '127.0.0.1:0', tls: { ...tls, private_key: { file: '/nowhere/tls.key' } } },
    routes: [OPEN],
  });
  const found = findings.filter(({ about }) => about.kind === 'listener');
  const said = found.map(({ about, code }) => `${about.name} ${code}`);
  assert.deepEqual(said, ['listen listener_certificate', 'admin credential_unavailable']);
});

const ID = 'spiffe://example.org/cambist';

function issueSvid(agent: Awaited<ReturnType<typeof startSpiffeAgent>>): void {
  const authority = createCertificateAuthority('example.org');
  agent.send(x509SvidResponse([svidParts(ID, authority.issueClient({ hosts: [ID] }), authority.cert)]));
}

test('waits for an SVID from the SPIFFE agent', async (t) => {
  const agent = await startSpiffeAgent(t);
  const config = { spiffe: { socket: agent.address }, routes: [OPEN] };
  const says = /has no identity for this process: register an entry.* PERMISSION_DENIED: no identity issued /;
  assertFinds(await runDoctor(t, config), ['error spiffe_unavailable'], says);

  issueSvid(agent);
  const known = await runDoctor(t, config);
  assert.deepEqual(known.problems, []);
  const reached = known.finding('spiffe_reached').what;
  assert.match(reached, /^it issues spiffe:\/\/example\.org\/cambist until .*, for example\.org$/);
  await eventually('the stream is closed', () => agent.open === 0);
});

test('exchanges with the SVIDs of the SPIFFE agent', async (t) => {
  const agent = await startSpiffeAgent(t);
  issueSvid(agent);
  const server = await startServer(t);
  const claims = { sub: ID, aud: server.issuer, exp: Math.floor(Date.now() / 1000) + 300 };
  agent.onJwt(() => message([1, message([1, ID], [2, jwtSvid(claims)])]));
  const client_auth = { method: 'client_assertion', from: { spiffe: true } };
  const doctor = await runDoctor(t, {
    spiffe: { socket: agent.address },
    authorization_servers: { local: { issuer: server.issuer, client_id: ID, client_auth } },
    routes: [route('work', { subject_token: { from: 'spiffe', audience: server.issuer } })],
  });
  assert.match(doctor.finding('subject_token_read').what, /^the subject token from the SPIFFE agent: /);
  assert.equal(doctor.finding('token_issued').severity, 'ok');
  assert.equal(server.requests.at(-1)?.form.get('client_assertion'), jwtSvid(claims));
});

const INTERCEPTED_ROUTE = { ...OPEN, name: 'r', match: { host: 'r.example.com' } };

async function checkTrustOf(written: object) {
  const findings: ReportedFinding[] = [];
  const finding = (about: ReportedFinding['about'], found: object) =>
    findings.push({ about, ...found } as ReportedFinding);
  await checkTrust(configOf({ routes: [INTERCEPTED_ROUTE], ...written }), { section() {}, finding });
  return { findings, codes: findings.map(({ code }) => code) };
}

test('checks the folder of a running cambist, until a file of it breaks', async (t) => {
  const folder = temporaryFolder(t);
  const intercept = { ca: { dir: join(folder, 'ca') }, trust_dir: join(folder, 'trust') };
  await startTestApp(t, { intercept, routes: [INTERCEPTED_ROUTE] });
  const whole = await checkTrustOf({ intercept });
  assert.deepEqual(whole.codes, ['trust_folder_read', ...Array(5).fill('trust_expected')]);
  assert.match(whole.findings[1]?.what ?? '', /^Node finds the authority by NODE_EXTRA_CA_CERTS, in ".*ca\.pem"$/);
  const other = { ...INTERCEPTED_ROUTE, match: { host: 'other.example.net' } };
  const excluded = await checkTrustOf({ intercept, routes: [other] });
  assert.deepEqual(excluded.codes.slice(0, 2), ['trust_folder_read', 'trust_hosts_excluded']);
  assert.match(excluded.findings[1]?.what ?? '', /exclude the hosts of routes "r"/);
  await writeFile(join(folder, 'trust/truststore.p12'), 'x');
  const broken = (await checkTrustOf({ intercept })).findings.find(({ code }) => code === 'trust_folder_broken');
  assert.deepEqual([broken?.about.name, broken?.severity], ['Java', 'error']);
  await writeFile(join(folder, 'trust/ca.pem'), 'not a certificate');
  assert.deepEqual((await checkTrustOf({ intercept })).codes, ['trust_folder_missing']);
});
