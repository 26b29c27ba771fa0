import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readRecords, recordsOf } from '../../harness/audit-records.ts';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { keepParts } from '../../harness/keep-parts.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-backend.ts';
import { assertProblem } from '../../harness/problem.ts';
import { post, whoami } from './agent.ts';
import { type Diagnosis, diagnose } from './diagnose.ts';
import { SPRING_SECRETS, type SpringServer, startSpring } from './spring.ts';

let server: SpringServer;
let cambist: CambistProcess;
let github: McpBackend;
let docs: McpBackend;
const leaks = createLeakWatch();
const { keep, close } = keepParts();

before(async () => {
  server = keep(await startSpring());
  github = keep(await startMcpBackend({ ...server, name: 'github', resource: 'github-mcp' }));
  docs = keep(await startMcpBackend({ ...server, name: 'docs' }));
  for (const secret of Object.values(SPRING_SECRETS)) leaks.remember(secret);
  const actorToken = await server.workloadToken();
  leaks.remember(actorToken);
  cambist = keep(await startCambist({ files: { ...SPRING_SECRETS, 'actor-token': actorToken }, config }));
  await cambist.ready();
});

after(close);

function config(directory: string) {
  const client = (id: keyof typeof SPRING_SECRETS) => ({
    issuer: server.issuer,
    client_id: id,
    client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, id) } },
  });
  const route = (name: string, upstream: McpBackend, more: object) => ({
    name,
    match: { path: `/${name}` },
    upstream: upstream.url,
    authorization_server: 'customized',
    ...more,
  });
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

async function signIn(): Promise<string> {
  const token = await server.signIn();
  leaks.remember(token);
  return token;
}

async function examine(route: string, token: string): Promise<Diagnosis> {
  const { configFile, directory } = cambist;
  const diagnosis = await diagnose({ config: configFile, route, token, directory });
  leaks.assertNoLeak({ text: diagnosis.text, stdout: cambist.stdout(), stderr: cambist.stderr() });
  return diagnosis;
}

test('sends each backend a token only for itself, by audience and by resource', async () => {
  const token = await signIn();
  const first = await whoami(`${cambist.url}/github`, token);
  const second = await whoami(`${cambist.url}/docs`, token);
  assert.deepEqual([first.server, first.aud, first.sub], ['github', 'github-mcp', 'alice']);
  assert.deepEqual([second.server, second.aud, second.sub], ['docs', docs.url, 'alice']);
  assert.deepEqual((await examine('docs', token)).errors, []);
});

test('rejects a token that Spring issues for cambist itself, and doctor names the reason', async () => {
  const token = await signIn();
  const before = github.requests.length;
  assertProblem(await post(`${cambist.url}/plain`, token), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(github.requests.length, before);
  const { code, errors, claims } = await examine('plain', token);
  assert.deepEqual([code, errors.map((error) => error.code)], [1, ['token_for_client']]);
  assert.equal(claims?.aud, 'cambist');
  assert.match(errors[0]?.fix ?? '', /OAuth2TokenCustomizer/);
});

test('records the chain of actors that Spring puts into an issued token', async () => {
  const token = await signIn();
  const claims = await whoami(`${cambist.url}/delegated`, token);
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

test('returns an error for a scope that the client may not request, and doctor names the scope', async () => {
  const token = await signIn();
  assertProblem(await post(`${cambist.url}/scoped`, token), 'ERR_EXCHANGE_REFUSED');
  const { errors } = await examine('scoped', token);
  assert.deepEqual(
    errors.map((error) => error.code),
    ['scope_refused'],
  );
  assert.match(errors[0]?.what ?? '', /"repo:admin"/);
});

test('rejects an invalid subject token', async () => {
  assertProblem(await post(`${cambist.url}/github`, 'not-an-issued-token'), 'ERR_SUBJECT_TOKEN_INVALID');
  assert.deepEqual(
    (await examine('github', 'not-an-issued-token')).errors.map((error) => error.code),
    ['subject_token_refused'],
  );
});
