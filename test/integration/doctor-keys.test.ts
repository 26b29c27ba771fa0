import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { SignJWT } from 'jose';
import { type RunningAuthorizationServer, startAuthorizationServer } from '../harness/authorization-server.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { sendResponse } from '../harness/fake-authorization-server.ts';
import { type HttpServerOptions, startHttpServer } from '../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import { assertFinds, type DoctorOptions, publicServer, route, runDoctor, withMain } from './doctor-run.ts';

const BACKEND = 'https://github.example.com/mcp';
const AUTHORITY = createCertificateAuthority('Example Corp CA');

/** An oidc-provider that signs and exchanges the callers' tokens. */
async function startServer(t: TestContext, options: HttpServerOptions = {}): Promise<RunningAuthorizationServer> {
  const server = await startAuthorizationServer({
    clients: { cambist: { method: 'none' } },
    resources: { [BACKEND]: { scopes: ['mcp'] } },
    ...options,
  });
  t.after(server.close);
  return server;
}

/** A server with the same response at every address. */
async function startKeys(t: TestContext, body: unknown): Promise<string> {
  const server = await startHttpServer((_request, response) => sendResponse(response, 200, body));
  t.after(server.close);
  return `${server.url}/jwks`;
}

function exchanging(name: string, verify: Record<string, unknown>, more: Record<string, unknown> = {}) {
  return route(name, { audience: undefined, resource: BACKEND, subject_token: { verify, ...more } });
}

interface Verification extends DoctorOptions {
  verify?: Record<string, unknown>;
  /** Additional config keys of the authorization server. */
  keys?: Record<string, unknown>;
}

function runWithVerify(t: TestContext, server: RunningAuthorizationServer, options: Verification = {}) {
  const { verify = {}, keys = {}, ...more } = options;
  const written = {
    authorization_servers: { main: publicServer(server.issuer, keys) },
    routes: [exchanging('github', { issuer: server.issuer, ...verify })],
  };
  return runDoctor(t, written, more);
}

const goodToken = (server: RunningAuthorizationServer) =>
  server.issueSubjectToken({ sub: 'alice', audience: 'cambist' });

test('reads the keys of an issuer once for subject_token.verify, inbound.verify and signals', async (t) => {
  const server = await startServer(t);
  const run = (issuer: string) =>
    runDoctor(t, {
      authorization_servers: { main: publicServer(server.issuer) },
      routes: [exchanging('github', { issuer })],
      inbound: { listen: '127.0.0.1:0', agent: 'http://127.0.0.1:1', verify: { issuer, audience: 'agent' } },
      signals: {
        listen: '127.0.0.1:0',
        transmitters: {
          one: { issuer, audience: 'cambist', backchannel_logout: true },
          two: { issuer, audience: 'other', backchannel_logout: true },
        },
      },
    });
  const { findings, problems, finding } = await run(server.issuer);
  assert.equal(findings.filter(({ code }) => code === 'keys_found').length, 3);
  assert.deepEqual(finding('keys_found').about, { kind: 'issuer', name: server.issuer });
  assert.ok(!problems.some((problem) => /metadata|keys/.test(problem)), problems.join());
  const unreachable = await run('http://127.0.0.1:9/none');
  assert.ok(unreachable.findings.some(({ about, severity }) => about.kind === 'issuer' && severity === 'error'));
  assert.ok(!unreachable.problems.includes('error metadata_not_found'), unreachable.problems.join());
});

test('finds the keys, verifies the token and exchanges it', async (t) => {
  const server = await startServer(t);
  const { findings, problems, finding } = await runWithVerify(t, server, { token: await goodToken(server) });
  assert.deepEqual(problems, []);
  const steps = findings.filter(({ about }) => about.kind !== 'authorization_server').map(({ code }) => code);
  assert.deepEqual(steps, [
    ...['keys_found', 'subject_token_read', 'backend_reached', 'subject_token_verified'],
    ...['token_issued', 'audience_matches', 'lifetime'],
  ]);
  assert.equal(finding('keys_found').about.name, server.issuer);
  assert.equal(finding('keys_found').what, `keys at ${server.jwksUri}`);
  assert.match(finding('subject_token_verified').what, /, for "cambist"$/);
});

type Make = (server: RunningAuthorizationServer, t: TestContext) => Promise<string>;

const WRONG: [which: string, make: Make, ...expected: string[]][] = [
  ['of another server', async (_server, t) => goodToken(await startServer(t)), 'error verify_issuer_differs'],
  [
    'for another audience',
    (server) => server.issueSubjectToken({ sub: 'alice', audience: 'agent' }),
    'error verify_audience_differs',
  ],
  [
    'that expired',
    (server) => server.issueSubjectToken({ sub: 'alice', audience: 'cambist', ttlSeconds: -60 }),
    'error subject_token_expired',
    'warning route_not_checked',
  ],
  ['signed with an unknown key', (server) => forged(server, 'withdrawn'), 'error verify_key_unknown'],
  ['that is opaque', async () => 'opaque-token', 'error verify_refused'],
  [
    'with the signature of another token',
    async (server) => {
      const [one, other] = [await goodToken(server), await goodToken(server)];
      return `${one.slice(0, one.lastIndexOf('.'))}${other.slice(other.lastIndexOf('.'))}`;
    },
    'error verify_refused',
  ],
];
for (const [which, make, ...expected] of WRONG) {
  test(`reports ${expected[0]} and sends no subject token ${which}`, async (t) => {
    const server = await startServer(t);
    const token = await make(server, t);
    const { problems, findings } = await runWithVerify(t, server, { token });
    assert.deepEqual(problems, expected);
    assert.equal(server.requests.length, 1, 'only the request with an invalid token');
    assert.ok(!JSON.stringify(findings).includes(token));
  });
}

/** A token with the claims of the server's, signed with another key. */
function forged(server: RunningAuthorizationServer, kid: string): Promise<string> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return new SignJWT({ iss: server.issuer, aud: 'cambist', sub: 'alice' })
    .setProtectedHeader({ alg: 'ES256', kid })
    .setExpirationTime('5m')
    .sign(privateKey);
}

test('verifies a subject token from a file, too', async (t) => {
  const server = await startServer(t);
  const write = writerInto(temporaryFolder(t));
  const file = write('token', await forged(server, 'withdrawn'));
  const written = withMain(server, exchanging('github', { issuer: server.issuer }, file));
  assert.deepEqual((await runDoctor(t, written)).problems, ['error verify_key_unknown']);
  write('token', await goodToken(server));
  assert.deepEqual((await runDoctor(t, written)).problems, []);
});

test('finds no keys of an issuer with another name, and skips the route', async (t) => {
  const server = await startServer(t);
  const verify = { issuer: `${server.issuer}/` };
  const result = await runWithVerify(t, server, { verify, token: await goodToken(server) });
  const says = /trailing slash.* set subject_token\.verify\.issuer to/;
  assertFinds(result, ['error issuer_mismatch', 'warning route_not_checked'], says);
  assert.match(result.finding('route_not_checked').why ?? '', /keys of issuer/);
});

test('reports missing, unusable and oversized keys', async (t) => {
  const server = await startServer(t);
  const addresses = [
    `${server.issuer}/no-keys`,
    await startKeys(t, { keys: [], padding: 'x'.repeat(300_000) }),
    await startKeys(t, { keys: ['key'] }),
  ];
  for (const jwks_uri of addresses) {
    const result = await runWithVerify(t, server, { verify: { jwks_uri }, token: await goodToken(server) });
    assertFinds(result, ['error keys_unavailable', 'warning route_not_checked'], / subject_token\.verify\.jwks_uri/);
  }
});

test('reports keys at an unreachable address, configured or discovered', async (t) => {
  const [server, gone] = [await startServer(t), await startServer(t)];
  await gone.close();
  const configured = await runWithVerify(t, server, { verify: { jwks_uri: gone.jwksUri } });
  assert.equal(configured.problems[0], 'error connection_refused');
  assert.match(configured.finding('connection_refused').fix ?? '', /host and port of subject_token\.verify\.jwks_uri,/);
  const issuer = await runWithVerify(t, server, { verify: { issuer: gone.issuer } });
  assert.match(issuer.finding('connection_refused').fix ?? '', /subject_token\.verify\.issuer or jwks_uri/);
  let metadata = {};
  const leading = await startHttpServer((_request, response) => sendResponse(response, 200, metadata));
  t.after(leading.close);
  metadata = { issuer: leading.url, jwks_uri: gone.jwksUri };
  const discovered = await runWithVerify(t, server, { verify: { issuer: leading.url } });
  assert.match(discovered.finding('connection_refused').fix ?? '', /subject_token\.verify\.issuer or jwks_uri/);
});

test('trusts the CA of the authorization server with the same issuer, and names that setting if it is missing', async (t) => {
  const server = await startServer(t, { tls: AUTHORITY.issueServer() });
  const write = writerInto(temporaryFolder(t));
  const token = await goodToken(server);
  const runWithCa = (ca: object) => runWithVerify(t, server, { token, keys: { tls: { ca } } });
  assert.deepEqual((await runWithCa(write('ca.pem', AUTHORITY.cert))).problems, []);
  const untrusted = await runWithVerify(t, server, { token });
  assert.deepEqual(untrusted.problems, [...Array(2).fill('error certificate_untrusted'), 'warning route_not_checked']);
  for (const { fix } of untrusted.findings.slice(0, 2)) {
    assert.match(fix ?? '', /set authorization_servers\.main\.tls\.ca to \{ file: /);
  }
  const wrong = await runWithCa(write('other.pem', createCertificateAuthority('Stranger').cert));
  assert.match(wrong.finding('certificate_untrusted').why ?? '', /other\.pem/);
  const missing = await runWithCa({ file: '/nowhere/ca.pem' });
  const unavailable = missing.findings.filter(({ code }) => code === 'credential_unavailable');
  assert.equal(unavailable.map(({ about }) => about.kind).join(), 'authorization_server,issuer');
  const plain = await startServer(t);
  const stranger = await runWithVerify(t, plain, { verify: { issuer: server.issuer } });
  const { fix } = stranger.finding('certificate_untrusted');
  assert.ok(fix?.includes(`tls.ca of an authorization server with the issuer "${server.issuer}" to { file: `));
});

test('checks shared keys once, and only the keys of the selected route', async (t) => {
  const [server, gone] = [await startServer(t), await startServer(t)];
  await gone.close();
  const written = withMain(
    server,
    exchanging('github', { issuer: server.issuer }),
    exchanging('docs', { issuer: server.issuer, audience: 'any' }),
    exchanging('files', { issuer: gone.issuer }),
    route('free', { audience: undefined, credential: 'none' }),
  );
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

/** Runs the doctor on a gateway whose agents have tokens of this cluster. */
function runWithAgents(t: TestContext, token: Record<string, unknown>, options: DoctorOptions = {}) {
  const known = { billing: { service_account: 'team-a/billing' } };
  return runDoctor(
    t,
    {
      agents: { token: { header: 'x-agent-token', audience: 'cambist', ...token }, known },
      routes: [route('open', { audience: undefined, credential: 'none' })],
    },
    options,
  );
}

test('checks the keys that verify tokens of agents, by the CA and the token of agents.token', async (t) => {
  const cluster = await startServer(t, { tls: AUTHORITY.issueServer() });
  const write = writerInto(temporaryFolder(t));
  const { issuer, jwksUri: jwks_uri } = cluster;
  const jwks_token = write('token', await goodToken(cluster));
  const tls = { ca: write('ca.pem', AUTHORITY.cert) };
  for (const options of [{}, { route: 'open' }]) {
    const trusted = await runWithAgents(t, { issuer, jwks_uri, jwks_token, tls }, options);
    assert.deepEqual(trusted.problems, []);
    assert.deepEqual(trusted.finding('keys_found').about, { kind: 'issuer', name: issuer });
  }
  const untrusted = await runWithAgents(t, { issuer, jwks_uri });
  assertFinds(untrusted, ['error certificate_untrusted'], /set agents\.token\.tls\.ca to \{ file: /);
  const missing = await runWithAgents(t, { issuer, jwks_uri, tls, jwks_token: { file: '/nowhere/token' } });
  assert.deepEqual(missing.problems, ['error credential_unavailable']);
  const other = await runWithAgents(t, { issuer: `${issuer}/other`, jwks_uri, jwks_token, tls });
  assert.deepEqual(other.problems, ['warning issuer_mismatch']);
  assert.ok(other.finding('issuer_mismatch').fix?.startsWith(`set agents.token.issuer to "${issuer}"`));
});

test('explains why an API server does not show its keys', async (t) => {
  const gone = await startServer(t);
  await gone.close();
  const away = await runWithAgents(t, { issuer: gone.issuer, jwks_uri: gone.jwksUri });
  assert.match(away.finding('connection_refused').fix ?? '', /host and port of agents\.token\.jwks_uri,/);
  let status = 403;
  const cluster = await startHttpServer((_request, response) => sendResponse(response, status, { kind: 'Status' }));
  t.after(cluster.close);
  const keys = { issuer: cluster.url, jwks_uri: `${cluster.url}/openid/v1/jwks` };
  const forbidden = (await runWithAgents(t, keys)).finding('keys_unavailable');
  assert.match(forbidden.fix ?? '', /bind the ClusterRole system:service-account-issuer-discovery to /);
  status = 401;
  const metadata = (await runWithAgents(t, { issuer: cluster.url })).finding('keys_unavailable');
  assert.match(metadata.fix ?? '', /^set jwks_uri to https:.*, and jwks_token to /);
});
