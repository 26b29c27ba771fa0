import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SignJWT } from 'jose';
import { type RunningAuthorizationServer, startAuthorizationServer } from '../harness/authorization-server.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { sendAnswer } from '../harness/faults.ts';
import { type HttpServerOptions, startHttpServer } from '../harness/http-server.ts';
import { type DoctorOptions, publicServer, route, runDoctor } from './doctor-run.ts';

const BACKEND = 'https://github.example.com/mcp';
const AUTHORITY = createCertificateAuthority('Example Corp CA');

/** oidc-provider, which signs the callers' tokens and exchanges them. */
async function startServer(t: TestContext, options: HttpServerOptions = {}): Promise<RunningAuthorizationServer> {
  const server = await startAuthorizationServer({
    clients: { cambist: { method: 'none' } },
    resources: { [BACKEND]: { scopes: ['mcp'] } },
    ...options,
  });
  t.after(server.close);
  return server;
}

/** What serves one thing at every address. */
async function startKeys(t: TestContext, body: unknown): Promise<string> {
  const server = await startHttpServer((_request, response) => sendAnswer(response, 200, body));
  t.after(server.close);
  return `${server.url}/jwks`;
}

function exchanging(name: string, verify: Record<string, unknown>, more: Record<string, unknown> = {}) {
  return route(name, { audience: undefined, resource: BACKEND, subject_token: { verify, ...more } });
}

interface Verification extends DoctorOptions {
  verify?: Record<string, unknown>;
  /** More keys of the authorization server. */
  keys?: Record<string, unknown>;
}

function consultVerify(t: TestContext, server: RunningAuthorizationServer, options: Verification = {}) {
  const { verify = {}, keys = {}, ...more } = options;
  const written = {
    authorization_servers: { main: publicServer(server.issuer, keys) },
    routes: [exchanging('github', { issuer: server.issuer, ...verify })],
  };
  return runDoctor(t, written, more);
}

const goodToken = (server: RunningAuthorizationServer) =>
  server.issueSubjectToken({ sub: 'alice', audience: 'cambist' });

test('all well: the keys are found, the token is verified by one of them, and then exchanged', async (t) => {
  const server = await startServer(t);
  const { findings, problems, finding } = await consultVerify(t, server, { token: await goodToken(server) });
  assert.deepEqual(problems, []);
  assert.deepEqual(
    findings.map(({ about, code }) => `${about.kind} ${code}`),
    [
      'authorization_server metadata_found',
      'authorization_server client_accepted',
      'authorization_server clock_agrees',
      'issuer keys_found',
      'route backend_reached',
      'route subject_token_read',
      'route subject_token_verified',
      'route token_issued',
      'route audience_matches',
      'route lifetime',
    ],
  );
  assert.equal(finding('keys_found').about.name, server.issuer);
  assert.ok(finding('keys_found').what.includes(`a key to verify by at ${server.jwksUri}: "`));
  assert.match(finding('subject_token_verified').what, /and for "cambist"$/);
});

test('without a subject token the keys are looked for all the same', async (t) => {
  const server = await startServer(t);
  const { problems, finding } = await consultVerify(t, server);
  assert.deepEqual(problems, ['warning subject_token_missing']);
  assert.equal(finding('keys_found').severity, 'ok');
});

const WRONG: [what: string, make: (server: RunningAuthorizationServer) => Promise<string>, problem: string][] = [
  [
    'for another',
    (server) => server.issueSubjectToken({ sub: 'alice', audience: 'agent' }),
    'error verify_audience_differs',
  ],
  [
    'that has expired',
    (server) => server.issueSubjectToken({ sub: 'alice', audience: 'cambist', ttlSeconds: -60 }),
    'error subject_token_expired',
  ],
  ['signed by a key that is not there', (server) => forged(server, 'withdrawn'), 'error verify_key_unknown'],
  ['that is opaque', async () => 'opaque-token', 'error verify_refused'],
  [
    'with a signature of another token',
    async (server) => {
      const [one, other] = [await goodToken(server), await goodToken(server)];
      return `${one.slice(0, one.lastIndexOf('.'))}${other.slice(other.lastIndexOf('.'))}`;
    },
    'error verify_refused',
  ],
];
for (const [what, make, problem] of WRONG) {
  test(`a subject token ${what}: ${problem}, and it is not sent`, async (t) => {
    const server = await startServer(t);
    const token = await make(server);
    const { problems, findings } = await consultVerify(t, server, { token });
    assert.deepEqual(problems, [problem]);
    assert.equal(server.requests.length, 1, 'the request without a token alone');
    assert.ok(!JSON.stringify(findings).includes(token));
  });
}

/** A token as the server's, by a key of somebody else. */
function forged(server: RunningAuthorizationServer, kid: string): Promise<string> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return new SignJWT({ iss: server.issuer, aud: 'cambist', sub: 'alice' })
    .setProtectedHeader({ alg: 'ES256', kid })
    .setExpirationTime('5m')
    .sign(privateKey);
}

test('a subject token of another server: both issuers', async (t) => {
  const [server, other] = [await startServer(t), await startServer(t)];
  const { problems, finding } = await consultVerify(t, server, { token: await goodToken(other) });
  assert.deepEqual(problems, ['error verify_issuer_differs']);
  const { what } = finding('verify_issuer_differs');
  assert.ok(what.includes(`"${other.issuer}"`) && what.includes(`"${server.issuer}"`));
});

test('a subject token of our own is held to the keys as well', async (t) => {
  const server = await startServer(t);
  const folder = await mkdtemp(join(tmpdir(), 'cambist-doctor-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'token');
  await writeFile(file, await forged(server, 'withdrawn'));
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [exchanging('github', { issuer: server.issuer }, { file })],
  };
  assert.deepEqual((await runDoctor(t, written)).problems, ['error verify_key_unknown']);
  await writeFile(file, await goodToken(server));
  assert.deepEqual((await runDoctor(t, written)).problems, []);
});

test('an issuer that calls itself otherwise has no keys for us, and the route waits for them', async (t) => {
  const server = await startServer(t);
  const { problems, finding } = await consultVerify(t, server, {
    verify: { issuer: `${server.issuer}/` },
    token: await goodToken(server),
  });
  assert.deepEqual(problems, ['error issuer_mismatch', 'warning route_not_checked']);
  assert.match(finding('issuer_mismatch').why ?? '', /slash at the end/);
  assert.match(finding('issuer_mismatch').fix ?? '', /^set subject_token\.verify\.issuer to/);
  assert.match(finding('route_not_checked').why ?? '', /keys of issuer/);
});

test('keys that are not where the config says, or are no keys, or none to verify by', async (t) => {
  const server = await startServer(t);
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const encryption = { ...publicKey.export({ format: 'jwk' }), use: 'enc' };
  const cases: [jwks_uri: string, code: string][] = [
    [`${server.issuer}/no-keys`, 'keys_unavailable'],
    [await startKeys(t, '<html></html>'), 'keys_unusable'],
    [await startKeys(t, { keys: [encryption] }), 'keys_unusable'],
    [await startKeys(t, { keys: [], filling: 'x'.repeat(300_000) }), 'keys_unavailable'],
    [await startKeys(t, { keys: ['key'] }), 'keys_unusable'],
  ];
  for (const [jwks_uri, code] of cases) {
    const { problems, finding } = await consultVerify(t, server, {
      verify: { jwks_uri },
      token: await goodToken(server),
    });
    assert.deepEqual(problems, [`error ${code}`, 'warning route_not_checked'], jwks_uri);
    assert.ok(finding(code).fix?.includes('subject_token.verify.jwks_uri'));
  }
});

test('keys at an address where nobody is, given or discovered', async (t) => {
  const [server, gone] = [await startServer(t), await startServer(t)];
  await gone.close();
  const given = await consultVerify(t, server, { verify: { jwks_uri: gone.jwksUri } });
  assert.equal(given.problems[0], 'error connection_refused');
  assert.match(given.finding('connection_refused').fix ?? '', /host and port of subject_token\.verify\.jwks_uri,/);
  const issuer = await consultVerify(t, server, { verify: { issuer: gone.issuer } });
  assert.match(issuer.finding('connection_refused').fix ?? '', /subject_token\.verify\.issuer or jwks_uri/);
  let metadata = {};
  const leading = await startHttpServer((_request, response) => sendAnswer(response, 200, metadata));
  t.after(leading.close);
  metadata = { issuer: leading.url, jwks_uri: gone.jwksUri };
  const discovered = await consultVerify(t, server, { verify: { issuer: leading.url } });
  assert.match(discovered.finding('connection_refused').fix ?? '', /jwks_uri or the issuer's metadata/);
});

test('keys are had with the CA of the authorization server of the same issuer, and without it that is where to name it', async (t) => {
  const server = await startServer(t, { tls: AUTHORITY.issueServer() });
  const folder = await mkdtemp(join(tmpdir(), 'cambist-doctor-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'ca.pem'), AUTHORITY.cert);
  const token = await goodToken(server);
  const trusted = await consultVerify(t, server, { token, keys: { tls: { ca: { file: join(folder, 'ca.pem') } } } });
  assert.deepEqual(trusted.problems, []);
  const untrusted = (await consultVerify(t, server, { token })).findings.find(({ about }) => about.kind === 'issuer');
  assert.equal(untrusted?.code, 'certificate_untrusted');
  assert.match(untrusted?.fix ?? '', /authorization_servers\.main\.tls\.ca$/);
  const missing = await consultVerify(t, server, { token, keys: { tls: { ca: { file: '/nowhere/ca.pem' } } } });
  assert.deepEqual(
    missing.findings.filter(({ code }) => code === 'credential_unavailable').map(({ about }) => about.kind),
    ['authorization_server', 'issuer'],
  );
  const plain = await startServer(t);
  const stranger = await consultVerify(t, plain, { verify: { issuer: server.issuer } });
  assert.ok(
    stranger
      .finding('certificate_untrusted')
      .fix?.endsWith(`tls.ca of an authorization server with the issuer "${server.issuer}"`),
  );
});

test('routes that share their keys are one examination, and of one route alone it is its own', async (t) => {
  const [server, gone] = [await startServer(t), await startServer(t)];
  await gone.close();
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [
      exchanging('github', { issuer: server.issuer }),
      exchanging('docs', { issuer: server.issuer, audience: 'any' }),
      exchanging('files', { issuer: gone.issuer }),
      { name: 'free', match: { path: '/free' }, upstream: 'http://127.0.0.1:9/mcp', credential: 'none' },
    ],
  };
  const token = await goodToken(server);
  const codes = async (only?: string) => {
    const { findings } = await runDoctor(t, written, { token, ...(only !== undefined && { route: only }) });
    return findings.filter(({ about }) => about.kind === 'issuer').map(({ code }) => code);
  };
  assert.deepEqual(await codes(), ['keys_found', 'connection_refused']);
  assert.deepEqual(await codes('docs'), ['keys_found']);
  assert.deepEqual(await codes('files'), ['connection_refused']);
  assert.deepEqual(await codes('free'), []);
});
