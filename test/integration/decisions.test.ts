import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DecisionReport } from '../../src/admin/decisions.ts';
import { REMEMBERED_DECISIONS } from '../../src/proxy/recent-decisions.ts';
import { eventually } from '../harness/eventually.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';

async function decisionsOf(admin: string, after = 0): Promise<DecisionReport> {
  return (await fetch(`${admin}/decisions?after=${after}`)).json() as Promise<DecisionReport>;
}

test('shows the route, why it matched, the cache result, and audience and scope as asked for and as issued', async (t) => {
  const { app, authorizationServer, authorization } = await startGateway(t, {
    route: { match: { path: '/github', methods: ['POST'] }, scope: 'read write', audience: 'github' },
  });
  authorizationServer.behaviour = { kind: 'issue', claims: { scope: 'read' } };
  for (let i = 0; i < 2; i += 1) await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  const { last, missed, decisions } = await decisionsOf(app.admin);
  assert.deepEqual([last, missed, decisions.length], [2, 0, 2]);
  const [miss, hit] = decisions;
  assert.ok(miss !== undefined && hit !== undefined);
  assert.deepEqual([miss.cache, hit.cache], ['miss', 'hit']);
  assert.ok(typeof miss.exchange_ms === 'number' && hit.exchange_ms === undefined);
  const { number, route, matched, status, outcome, requested, granted } = hit;
  assert.deepEqual([number, route, status, outcome], [2, 'github', 200, 'forwarded']);
  assert.equal(matched, 'any host, path /github, method POST');
  assert.deepEqual(requested, { audience: ['github'], scope: 'read write' });
  assert.equal(granted?.scope, 'read');
  assert.ok((granted?.audience ?? []).length > 0);
});

test('shows the audience of an issued token that is refused for it', async (t) => {
  const { app, authorizationServer, authorization } = await startGateway(t);
  authorizationServer.behaviour = { kind: 'issue', audience: ['other'] };
  await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  const [refused] = (await decisionsOf(app.admin)).decisions;
  assert.deepEqual([refused?.error, refused?.granted?.audience], ['ERR_ISSUED_TOKEN_AUDIENCE', ['other']]);
});

test('shows no subject, no token and no text of the caller', async (t) => {
  const { app, authorizationServer } = await startGateway(t);
  const token = await authorizationServer.mint({ subject: 'alice-7f3a' });
  const headers = {
    authorization: `Bearer ${token}`,
    'x-request-id': 'chosen-7f3a',
    'mcp-name': 'chosen-7f3a',
    'mcp-session-id': 'chosen-7f3a',
    traceparent: `00-${'7f3a'.repeat(8)}-b7ad6b7169203331-01`,
  };
  await call(`${app.url}/github/chosen-7f3a?q=chosen-7f3a`, { headers, body: '{"chosen":"7f3a"}' });
  await call(`${app.url}/chosen-7f3a`, { headers: { host: 'chosen-7f3a' }, method: 'CHOSEN' }).catch(() => {});
  const text = JSON.stringify(await decisionsOf(app.admin));
  assert.ok(text.includes('"route":"github"'));
  assert.ok(!/7f3a|chosen/i.test(text), text);
  assert.ok(!text.includes(token));
});

test('names the error of a refused request, and the decisions after a number', async (t) => {
  const { app } = await startGateway(t);
  await call(`${app.url}/nowhere`);
  await call(`${app.url}/github`);
  const { decisions } = await decisionsOf(app.admin, 1);
  assert.deepEqual(
    decisions.map(({ number, route, status, error }) => [number, route, status, error]),
    [[2, 'github', 401, 'ERR_SUBJECT_TOKEN_MISSING']],
  );
});

test('keeps the last decisions, and counts those that a slow reader missed', async (t) => {
  const { app } = await startPlainGateway(t);
  const total = REMEMBERED_DECISIONS + 10;
  for (let sent = 0; sent < total; sent += 86) {
    await Promise.all(Array.from({ length: Math.min(86, total - sent) }, () => call(`${app.url}/nowhere`)));
  }
  const { last, missed, decisions } = await decisionsOf(app.admin, 4);
  assert.deepEqual([last, missed, decisions.length], [total, 6, REMEMBERED_DECISIONS]);
  assert.deepEqual([decisions[0]?.number, decisions.at(-1)?.number], [11, total]);
  await eventually('a reader of an earlier process starts again', async () => {
    const report = await decisionsOf(app.admin, total + 1000);
    return report.decisions.length === REMEMBERED_DECISIONS;
  });
});

test('refuses an invalid number and a public Host', async (t) => {
  const { app } = await startPlainGateway(t);
  for (const query of ['after=-1', 'after=x', 'after=1&after=2', `after=${'9'.repeat(20)}`]) {
    assert.equal((await fetch(`${app.admin}/decisions?${query}`)).status, 400, query);
  }
  const headers = { host: 'attacker.example.com' };
  assert.equal((await call(`${app.admin}/decisions`, { headers })).status, 403);
});
