import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { decodeJwt } from 'jose';
import { routeTo, startTestApp } from '../../harness/app.ts';
import { readRecords, recordsOf } from '../../harness/audit-records.ts';
import { echo, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { call } from '../../harness/http-call.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { basicAuth, post, startAgent, whoami } from './agent.ts';
import { SPRING_SECRETS, startSpring } from './spring.ts';

const lifetime = keepParts();
after(lifetime.close);
const server = lifetime.keep(await startSpring());
const github = await startMcpBackend(lifetime, { ...server, name: 'github', resource: 'github-mcp' });
const docs = await startMcpBackend(lifetime, { ...server, name: 'docs' });
const files = { ...SPRING_SECRETS, 'actor-token': await server.workloadToken() };
const { cambist, leaks, signIn, url, examine, declareMistakes } = await startAgent(files, config, server.signIn);

function config(directory: string) {
  const client = (id: keyof typeof SPRING_SECRETS) => ({
    issuer: server.issuer,
    client_id: id,
    client_auth: basicAuth(directory, id),
  });
  const route = (name: string, { url }: McpBackend, keys: object) =>
    routeTo(name, url, { authorization_server: 'customized', ...keys });
  return {
    audit: { to: { file: 'audit.jsonl' } },
    authorization_servers: { plain: client('cambist'), customized: client('cambist-customized') },
    routes: [
      route('github', github, { audience: 'github-mcp' }),
      route('docs', docs, {}),
      route('plain', github, { authorization_server: 'plain', audience: 'github-mcp' }),
      route('delegated', github, { audience: 'github-mcp', actor_token: { file: join(directory, 'actor-token') } }),
      route('scoped', github, { audience: 'github-mcp', scope: 'repo:admin' }),
    ],
  };
}

test('sends each backend a token only for itself, by audience and by resource', async () => {
  const token = await signIn();
  const first = await whoami(url('github'), token);
  const second = await whoami(url('docs'), token);
  assert.deepEqual([first.server, first.aud, first.sub], ['github', 'github-mcp', 'alice']);
  assert.deepEqual([second.server, second.aud, second.sub], ['docs', docs.url, 'alice']);
  assert.deepEqual((await examine('docs', token)).errors, []);
});

declareMistakes([
  {
    mistake: 'a token that Spring issues for cambist itself',
    route: 'plain',
    code: 'ERR_ISSUED_TOKEN_AUDIENCE',
    finding: 'token_for_client',
    fix: /OAuth2TokenCustomizer/,
  },
  {
    mistake: 'a scope that the client may not request',
    route: 'scoped',
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'scope_refused',
    what: /"repo:admin"/,
  },
  {
    mistake: 'an invalid subject token',
    route: 'github',
    code: 'ERR_SUBJECT_TOKEN_INVALID',
    finding: 'subject_token_refused',
    token: async () => 'not-an-issued-token',
  },
]);

test('a backend gets no token that Spring issues for cambist itself', async () => {
  const before = github.requests.length;
  const token = await signIn();
  await post(url('plain'), token);
  assert.equal(github.requests.length, before);
  assert.equal((await examine('plain', token)).claims?.aud, 'cambist');
});

test('records the chain of actors that Spring puts into an issued token', async () => {
  const token = await signIn();
  const claims = await whoami(url('delegated'), token);
  const act = { iss: server.issuer, sub: 'workload' };
  assert.deepEqual(claims.act, act);
  const all = readRecords(join(cambist.directory, 'audit.jsonl'));
  const calls = recordsOf('request', all).filter(({ route, mcp }) => route === 'delegated' && mcp?.name === 'whoami');
  assert.equal(calls.length, 1);
  assert.deepEqual(calls[0]?.actor, { verified: true, from: 'issued_token', claims: act });
  assert.deepEqual([calls[0]?.subject?.verified, calls[0]?.subject?.claims.sub], [true, 'alice']);
  assert.deepEqual([calls[0]?.token?.aud, calls[0]?.token?.act], [['github-mcp'], act]);
  leaks.assertNoLeak({ audit: JSON.stringify(all) });
});

test('says in the issued token which agent of a gateway acts', async (t) => {
  const upstream = await startFakeUpstream(t, echo);
  const app = await startTestApp(t, {
    authorization_servers: { customized: config(cambist.directory).authorization_servers.customized },
    agents: {
      token: {
        header: 'x-agent-token',
        issuer: server.issuer,
        audience: ['workload', 'other-workload'],
        jwks_uri: server.jwksUri,
      },
      known: { billing: { subject: 'workload' }, support: { subject: 'other-workload' } },
    },
    routes: [routeTo('delegated', upstream.url, { audience: 'github-mcp', actor_token: { from: 'agent' } })],
  });
  const authorization = `Bearer ${await signIn()}`;
  const [billing, renewed, support] = [
    await server.workloadToken(),
    await server.workloadToken(),
    await server.workloadToken('other-workload'),
  ];
  for (const token of [billing, renewed, support, billing]) {
    const { status } = await call(`${app.url}/delegated`, { headers: { authorization, 'x-agent-token': token } });
    assert.equal(status, 200);
  }
  const received = upstream.requests.map(({ headers }) => String(headers.authorization).replace('Bearer ', ''));
  assert.deepEqual(
    received.map((token) => (decodeJwt(token).act as { readonly sub: string }).sub),
    ['workload', 'workload', 'other-workload', 'workload'],
  );
  // The agent is part of the cache key, and its token is not.
  assert.equal(new Set(received).size, 2);
  assert.deepEqual(new Set(received.map((token) => decodeJwt(token).sub)), new Set(['alice']));
});
