import assert from 'node:assert/strict';
import { test } from 'node:test';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import {
  assertFinds,
  publicServer,
  route,
  runDoctor,
  runOnRoute,
  startServer,
  strict,
  withMain,
} from './doctor-run.ts';

test('warns once about a missing subject token', async (t) => {
  const server = await startServer(t);
  const result = await runDoctor(t, withMain(server, route('github'), route('docs')));
  assertFinds(result, ['warning subject_token_missing'], /"github", "docs".*--subject-token-file/);
});

test('reports an expired subject token once and does not send it', async (t) => {
  const server = await startServer(t);
  const { problems, finding } = await runDoctor(t, withMain(server, route('github'), route('docs')), {
    token: await server.mint({ ttlSeconds: -90 }),
  });
  const skipped = 'warning route_not_checked';
  assert.deepEqual(problems, ['error subject_token_expired', skipped, skipped]);
  const [, seconds] = / (\d+) s ago/.exec(finding('subject_token_expired').what) ?? [];
  assert.ok(Number(seconds) >= 89, seconds);
  assert.equal(server.requests.length, 1);
});

test('warns of a subject token without sub', async (t) => {
  const server = await startServer(t);
  const token = [{ alg: 'ES256' }, { iss: server.issuer, exp: Date.now() / 1000 + 60 }]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const { problems, finding } = await runOnRoute(t, server, `${token}.c2ln`);
  assert.ok(problems.includes('warning subject_token_without_sub'), problems.join());
  assert.match(finding('subject_token_without_sub').fix ?? '', /client scope basic/);
});

test('reports a file without a token, but not its content', async (t) => {
  const server = await startServer(t);
  const { problems, findings } = await runOnRoute(t, server, 'my password is hunter2');
  assert.deepEqual(problems, ['error subject_token_unusable', 'warning route_not_checked']);
  assert.ok(!JSON.stringify(findings).includes('hunter2'));
});

test('reads the subject token of a route from its own file', async (t) => {
  const server = await startServer(t);
  const subject_token = writerInto(temporaryFolder(t))('token', await server.mint());
  const { problems, finding } = await runDoctor(t, withMain(server, route('github', { subject_token })));
  assert.deepEqual(problems, []);
  assert.match(finding('subject_token_read').what, /from .*\/token:/);
});

test('redacts the subject token in an error of the server', async (t) => {
  const server = await startServer(t);
  const token = await server.mint();
  server.behaviour = strict({
    kind: 'response',
    status: 400,
    body: { error: 'invalid_grant', error_description: `the token ${token} is revoked`, refresh_token: token },
  });
  const { findings, finding } = await runOnRoute(t, server, token);
  assert.match(finding('subject_token_refused').what, /invalid_grant: the token \[redacted\] is revoked/);
  assert.ok(!JSON.stringify(findings).includes(token));
});

test('reports success for each step, with the claims of the issued token', async (t) => {
  const server = await startServer(t);
  const { findings, problems, finding } = await runOnRoute(t, server);
  assert.deepEqual(problems, []);
  const steps = findings.map(({ about, code }) => `${about.name} ${code}`);
  assert.deepEqual(steps, [
    ...['main metadata_found', 'main client_accepted', 'main clock_agrees', 'the test subject_token_read'],
    ...['github backend_reached', 'github token_issued', 'github audience_matches', 'github lifetime'],
  ]);
  assert.equal(finding('token_issued').claims?.aud, 'backend');
  assert.equal(server.requests.length, 2, 'one request with an invalid token, one exchange');
});

test("reports an unusable response in the proxy's words", async (t) => {
  const server = await startServer(t, { kind: 'issue', fields: { token_type: 'MAC' } });
  assertFinds(await runOnRoute(t, server), ['error response_unusable'], /502 ERR_STS_RESPONSE_INVALID/);
});

test('reports token_unchanged when the server returns a value of the request', async (t) => {
  const server = await startServer(t);
  const token = await server.mint({ audience: ['cambist', 'backend'] });
  const returned: [field: string, accessToken: string][] = [
    ['subject_token', token],
    ['subject_token', `Bearer ${token}`],
    ['client_id', 'cambist'],
  ];
  for (const [field, accessToken] of returned) {
    server.behaviour = strict({ kind: 'issue', accessToken });
    const { problems, finding } = await runOnRoute(t, server, token);
    assert.ok(problems.includes('error token_unchanged'), problems.join());
    assert.equal(finding('token_unchanged').what, `the token contains the "${field}" of the request`);
    assert.match(finding('token_unchanged').why ?? '', /502 ERR_STS_RESPONSE_INVALID/);
  }
});

test('does not use a server that accepts an invalid token', async (t) => {
  const server = await startServer(t);
  server.behaviour = { kind: 'issue' };
  assert.deepEqual((await runOnRoute(t, server)).problems, ['error any_subject_accepted', 'warning route_not_checked']);
});

test('goes on with a server whose clock is wrong by the Date header', async (t) => {
  const server = await startServer(t);
  const { issuer, tokenEndpoint } = server;
  const headers = { date: new Date(Date.now() - 60_000).toUTCString() };
  const body = { issuer, token_endpoint: tokenEndpoint };
  server.metadataBehaviour = { kind: 'response', status: 200, body, headers };
  const result = await runOnRoute(t, server);
  assertFinds(result, ['error clock_skew'], /(59|60) s behind/);
  assert.equal(result.finding('audience_matches').severity, 'ok');
});

test('requests a token with client credentials, without a subject token', async (t) => {
  const server = await startServer(t);
  const github = route('github', { credential: 'client_credentials' });
  const { problems, finding } = await runDoctor(t, withMain(server, github));
  assert.deepEqual(problems, []);
  assert.equal(finding('audience_matches').about.name, 'github');
  assert.deepEqual(server.sent('grant_type'), ['client_credentials']);
});

test("checks the token of handshakes and lists without a caller as well, with and without a caller's token", async (t) => {
  const server = await startServer(t);
  const written = (unattended: string) => withMain(server, route('github', { unattended }));
  const grants = () => server.requests.splice(0).flatMap(({ form }) => form.get('grant_type')?.split(':').at(-1) ?? []);
  const token = await server.mint();
  assert.deepEqual((await runDoctor(t, written('client_credentials'), { token })).problems, []);
  assert.deepEqual(grants().slice(-2), ['token-exchange', 'client_credentials']);
  const missing = await runDoctor(t, written('client_credentials'));
  assert.deepEqual(missing.problems, ['warning subject_token_missing']);
  assert.deepEqual(grants().slice(-1), ['client_credentials']);
  await runDoctor(t, written('none'), { token });
  assert.ok(!grants().includes('client_credentials'));
  const probe = { kind: 'response', status: 400, body: { error: 'invalid_grant' } } as const;
  const refusal = { kind: 'response', status: 400, body: { error: 'unauthorized_client' } } as const;
  server.queue = [probe, { kind: 'issue' }, refusal];
  assert.deepEqual((await runDoctor(t, written('client_credentials'), { token })).problems, [
    'error exchange_disabled',
  ]);
});

const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';

for (const [what, assertion, error, code, fix] of [
  ['the scope', 'id_jag', 'invalid_scope', 'scope_refused', /scope/],
  ["the assertion, which is not the caller's token", 'jwt', 'invalid_grant', 'assertion_refused', /let "second" trust/],
] as const) {
  test(`checks both servers of a chain, and reports ${code} if the second refuses ${what}`, async (t) => {
    const idp = await startServer(t);
    const second = await startServer(t, { kind: 'response', status: 400, body: { error } });
    const fields = assertion === 'jwt' ? {} : { token_type: 'N_A', issued_token_type: ID_JAG };
    idp.behaviour = strict({ kind: 'issue', audience: second.issuer, fields });
    const keys = {
      authorization_server: 'second',
      chain: { authorization_server: 'idp', assertion },
      ...(assertion === 'jwt' ? { audience: undefined } : { scope: 'repo:admin', subject_token: { type: 'id_token' } }),
    };
    const written = {
      authorization_servers: {
        idp: publicServer(idp.issuer),
        second: publicServer(second.issuer, { grant: 'jwt_bearer' }),
      },
      routes: [route('github', keys)],
    };
    const result = await runDoctor(t, written, { token: await idp.mint() });
    assertFinds(result, [`error ${code}`], fix);
    const accepted = result.findings.filter((found) => found.code === 'client_accepted').map(({ about }) => about.name);
    assert.deepEqual(accepted, ['idp', 'second']);
  });
}

test('checks the metadata of a server that no route uses', async (t) => {
  const server = await startServer(t);
  const written = {
    authorization_servers: { main: publicServer(server.issuer), spare: publicServer(server.issuer) },
    routes: [route('github', { authorization_server: 'main' })],
  };
  const { problems, finding } = await runDoctor(t, written, { token: await server.mint() });
  assert.deepEqual(problems, ['warning client_not_checked']);
  assert.equal(finding('client_not_checked').about.name, 'spare');
});

test('checks only the servers of the selected route', async (t) => {
  const server = await startServer(t);
  const other = await startServer(t);
  const written = {
    authorization_servers: { main: publicServer(server.issuer), other: publicServer(other.issuer) },
    routes: [
      route('github', { authorization_server: 'main' }),
      route('docs', { authorization_server: 'other' }),
      route('free', { audience: undefined, credential: 'none' }),
    ],
  };
  const token = await server.mint();
  const one = await runDoctor(t, written, { token, route: 'github' });
  assert.deepEqual(one.problems, []);
  assert.deepEqual([other.requests.length, other.metadataRequests.length], [0, 0]);
  const free = await runDoctor(t, written, { route: 'free' });
  const codes = free.findings.map(({ code }) => code);
  assert.deepEqual(codes, ['backend_reached', 'route_needs_no_token']);
});

test('refuses metadata that leads to another server of the config', async (t) => {
  const [first, second] = [await startServer(t), await startServer(t)];
  const body = { issuer: first.issuer, token_endpoint: second.tokenEndpoint };
  first.metadataBehaviour = { kind: 'response', status: 200, body };
  const written = {
    authorization_servers: { first: publicServer(first.issuer), second: publicServer(second.issuer) },
    routes: [route('github', { authorization_server: 'first' })],
  };
  const result = await runDoctor(t, written, { route: 'github' });
  const says = /names a token endpoint on the host of authorization server "second"/;
  assertFinds(result, ['error metadata_unusable', 'warning route_not_checked'], says);
  assert.equal(second.requests.length, 0);
});

test('reports each route of a failing server', async (t) => {
  const server = await startServer(t, { kind: 'response', status: 503 });
  const token = await server.mint();
  const routes = ['a', 'b', 'c', 'd', 'e'].map((name) => route(name, { audience: name }));
  const { problems } = await runDoctor(t, withMain(server, ...routes), { token });
  assert.deepEqual(problems.slice(0, 3), Array(3).fill('error server_unavailable'));
  assert.equal(problems.length, 5, 'one finding for each route');
});
