import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { test } from 'node:test';
import { startCheckClient } from '../harness/check-client.ts';
import { assertProblem } from '../harness/http-call.ts';
import { startTeamGateway, TEAM_HOST, teamFile } from '../harness/team-gateway.ts';

test('sends the requests of a region to the routes of its team alone', async (t) => {
  const setup = await startTeamGateway(t);
  const { send, write, apply, authorizationServer, team, upstream, app } = setup;
  await write('billing', teamFile(setup));
  await apply();
  const served = await send('/billing/ledger/x');
  assert.equal(served.status, 200);
  assert.equal(authorizationServer.requests.at(-1)?.form.get('resource'), `${team.url}/mcp`);
  assert.equal(team.requests.length, 1);
  for (const [path, host] of [
    ['/billing/other', 'localhost'],
    ['/billing/ledger', TEAM_HOST],
    ['/.well-known/oauth-protected-resource/billing/x', TEAM_HOST],
    ['/x', 'SUPPORT.example.com.'],
  ] as const) {
    assertProblem(await send(path, host), 'ERR_ROUTE_NOT_FOUND');
  }
  assert.deepEqual([team.requests.length, upstream.requests.length], [1, 0]);
  assert.equal((await send('/other')).status, 200);
  assert.equal((await send('/billings')).status, 200);
  assert.equal(upstream.requests.length, 2);
  const metadata = await send('/.well-known/oauth-protected-resource/billing/ledger');
  assert.notEqual(metadata.status, 500);
  assert.equal(upstream.requests.length, 2, 'the metadata of a team is not asked of another backend');
  assert.match(app.logText(), /region of \\"billing\\"/);
});

test('closes the region of an invalid file, and each until its folder was read, but no other route', async (t) => {
  const setup = await startTeamGateway(t);
  const { send, ask, write, apply, team, upstream, app, folders } = setup;
  assertProblem(await send('/billing'), 'ERR_ROUTES_INVALID');
  await write('support', '');
  await rm(folders.support, { recursive: true });
  await write('billing', 'routes: [');
  await apply();
  const closed = async (): Promise<void> => {
    for (const path of ['/billing', '/billing/ledger', '/.well-known/oauth-protected-resource/billing/ledger']) {
      const refused = await send(path);
      assertProblem(refused, 'ERR_ROUTES_INVALID');
      assert.match(refused.headers['retry-after'] ?? '', /^\d+$/);
    }
    assertProblem(await send('/x', 'support.example.com'), 'ERR_ROUTES_INVALID');
  };
  await closed();
  const owners = app.logs.filter(({ error }) => error === 'ERR_ROUTES_INVALID').map(({ team: owner }) => owner);
  assert.deepEqual(owners, ['billing', 'billing', 'billing', 'billing', 'support']);
  assert.equal((await send('/other')).status, 200);
  assert.equal((await ask('/ext-authz/other')).status, 200);
  assert.equal((await app.readiness()).status, 200);
  assert.ok((await app.metric('cambist_requests_total', { route: '_unmatched', code: '503' })) > 0);
  await write('billing', teamFile(setup));
  await apply();
  assert.equal((await send('/billing/ledger')).status, 200);
  assert.equal((await ask('/ext-authz/billing/ledger')).status, 200);
  assertProblem(await send('/x', 'support.example.com'), 'ERR_ROUTES_INVALID');
  assert.deepEqual([team.requests.length, upstream.requests.length], [1, 1]);
});

test('finds the route of a team by name, and refuses one whose region is closed', async (t) => {
  const setup = await startTeamGateway(t, 'name');
  const { ask, write, apply, app, authorization } = setup;
  const grpc = startCheckClient(t, app.decisionsByGrpc ?? '');
  const headers = [['authorization', authorization]] as const;
  const byGrpc = (name: string, path = '/billing/ledger') =>
    grpc.check({ path, host: 'localhost', context: [['route', name]], headers });
  await write('billing', 'nonsense');
  await apply();
  assertProblem(await ask('/ext-authz/github/billing/x'), 'ERR_ROUTES_INVALID');
  await write('billing', teamFile(setup));
  await apply();
  assert.equal((await byGrpc('github', '/other')).isAllowed, true);
  for (const path of ['/x/../billing/ledger', '/x/%2e%2e/billing/ledger', '/other\\..\\billing']) {
    assert.equal((await byGrpc('github', path)).status, 403, path);
  }
  assert.equal((await ask('/ext-authz/github/other')).status, 200);
  for (const name of ['billing', 'billing/none']) {
    assertProblem(await ask(`/ext-authz/${name}`), 'ERR_ROUTE_NOT_FOUND');
  }
  for (const name of ['github', 'billing', 'billing/none', 'billing/', 'billing/ledger/x', '/ledger']) {
    assert.equal((await byGrpc(name)).isAllowed, false, name);
  }
});

test('keeps tokens and connections of unchanged routes while files of teams change', async (t) => {
  const setup = await startTeamGateway(t);
  const { send, write, apply, authorizationServer, team, upstream } = setup;
  await write('billing', teamFile(setup));
  await apply();
  for (const text of ['routes: []', 'broken: [', 'routes: []']) {
    assert.equal((await send('/billing/ledger')).status, 200);
    assert.equal((await send('/other')).status, 200);
    await write('support', text);
    await apply();
  }
  assert.equal(authorizationServer.requests.length, 2);
  await write('billing', 'broken');
  await apply();
  assertProblem(await send('/billing/ledger'), 'ERR_ROUTES_INVALID');
  await write('billing', teamFile(setup));
  await apply();
  assert.equal((await send('/billing/ledger')).status, 200);
  assert.equal(authorizationServer.requests.length, 2, 'the token outlives a closed region');
  for (const { requests } of [team, upstream]) {
    assert.ok(requests.length >= 3);
    assert.equal(new Set(requests.map(({ message }) => message.socket)).size, 1);
  }
});
