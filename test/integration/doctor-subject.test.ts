import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { publicServer, route, runDoctor, runOnRoute, startServer, strict } from './doctor-run.ts';

test('warns once about a missing subject token', async (t) => {
  const server = await startServer(t);
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github'), route('docs')],
  };
  const { problems, finding } = await runDoctor(t, written);
  assert.deepEqual(problems, ['warning subject_token_missing']);
  assert.match(finding('subject_token_missing').what, /"github", "docs"/);
  assert.match(finding('subject_token_missing').fix ?? '', /--subject-token-file/);
});

test('reports an expired subject token once and does not send it', async (t) => {
  const server = await startServer(t);
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github'), route('docs')],
  };
  const { problems, finding } = await runDoctor(t, written, { token: await server.mint({ ttlSeconds: -90 }) });
  const skipped = 'warning route_not_checked';
  assert.deepEqual(problems, ['error subject_token_expired', skipped, skipped]);
  const [, seconds] = / (\d+) s ago/.exec(finding('subject_token_expired').what) ?? [];
  assert.ok(Number(seconds) >= 89, seconds);
  assert.equal(server.requests.length, 1);
});

test('reports a clock that is ahead instead of an expired subject token, by the dates of backends', async (t) => {
  let isDated = false;
  const server = await startFakeAuthorizationServer({
    respond: (_url, _request, response) => {
      response.sendDate = isDated;
      return false;
    },
  });
  t.after(server.close);
  server.behaviour = strict({ kind: 'issue' });
  const written = { authorization_servers: { main: publicServer(server.issuer) }, routes: [route('github')] };
  const aheadMs = 600_000;
  const run = async (ttlSeconds: number) =>
    runDoctor(t, written, { token: await server.mint({ ttlSeconds }), aheadMs });
  const ahead = await run(300);
  assert.deepEqual(ahead.problems, ['error clock_skew', 'warning route_not_checked']);
  assert.match(
    ahead.finding('clock_skew').what,
    /this machine's clock is (600|599) s ahead: by it, .* expired \d+ s ago/,
  );
  assert.equal((await run(-300)).problems[0], 'error subject_token_expired');
  isDated = true;
  const codes = (await run(300)).problems;
  assert.ok(codes.includes('error clock_skew') && codes.includes('error subject_token_expired'), codes.join());
});

test('warns of a subject token without sub', async (t) => {
  const server = await startServer(t);
  const token = [{ alg: 'ES256' }, { iss: server.issuer, exp: Date.now() / 1000 + 60 }]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const { problems, finding } = await runOnRoute(t, server, {}, { token: `${token}.c2ln` });
  assert.ok(problems.includes('warning subject_token_without_sub'), problems.join());
  assert.match(finding('subject_token_without_sub').fix ?? '', /client scope basic/);
});

test('reports a file without a token, but not its content', async (t) => {
  const server = await startServer(t);
  const { problems, findings } = await runOnRoute(t, server, {}, { token: 'my password is hunter2' });
  assert.deepEqual(problems, ['error subject_token_unusable', 'warning route_not_checked']);
  assert.ok(!JSON.stringify(findings).includes('hunter2'));
});

test('reads the subject token of a route from its own file', async (t) => {
  const server = await startServer(t);
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'token'), await server.mint());
  const subject_token = { file: join(folder, 'token') };
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github', { subject_token })],
  };
  const { problems, finding } = await runDoctor(t, written);
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
  const { findings, finding } = await runOnRoute(t, server, {}, { token });
  assert.match(finding('subject_token_refused').what, /invalid_grant: the token \[redacted\] is revoked/);
  assert.ok(!JSON.stringify(findings).includes(token));
});
