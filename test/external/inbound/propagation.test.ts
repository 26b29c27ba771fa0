import assert from 'node:assert/strict';
import { test } from 'node:test';
import { interleaved, startAgentSetup, USERS } from './agents.ts';

const CALLS = 100;
const WIDTH = 16;

test('an agent on FastAPI under OpenTelemetry passes its caller on without code', async (t) => {
  const setup = await startAgentSetup(t, 'fastapi_agent');
  const { tokens } = setup;
  const post = async (path: string, user: string, body = ''): Promise<unknown> => {
    const headers = { authorization: `Bearer ${tokens.get(user)}`, 'x-copy': tokens.get(user) ?? '' };
    const response = await fetch(`${setup.inboundUrl}${path}`, { method: 'POST', headers, body });
    assert.equal(response.status, 200, await response.clone().text());
    return response.json();
  };

  await t.test('every backend call of two users at once has the token of the right user', async () => {
    const results = await interleaved(CALLS, WIDTH, async (user) => (await post('/chat', user)) as object[]);
    for (const user of USERS) {
      const calls = results[user]?.flat() ?? [];
      assert.equal(calls.length, 3 * CALLS);
      for (const call of calls) assert.deepEqual(call, { status: 200, user });
    }
    const received = setup.backends.github.requests.map(({ claims }) => claims?.sub);
    assert.equal(received.length, 2 * 3 * CALLS);
    for (const user of USERS) assert.equal(received.filter((sub) => sub === user).length, 3 * CALLS);
  });

  await t.test('a call whose user cannot be told gets 401, and does not reach the backend', async () => {
    const before = setup.backends.github.requests.length;
    const results = await interleaved(10, WIDTH, (user) => post('/lost', user));
    for (const call of Object.values(results).flat()) assert.deepEqual(call, { status: 401, user: null });
    assert.equal(setup.backends.github.requests.length, before);
  });

  await t.test('the agent is given no token, and no handle reaches the backend', async () => {
    const told = JSON.stringify(await post('/tell', 'alice', 'hello'));
    assert.match(told, /"authorization","Bearer cbh_/);
    assert.match(told, /"x-user-id","alice"/);
    assert.ok(!/eyJ[\w-]{8}/.test(told), 'the agent was given something like a JWT');
    const received = JSON.stringify(setup.backends.github.requests.map(({ rawHeaders }) => rawHeaders));
    assert.ok(received.includes('traceparent'), 'the agent is instrumented');
    assert.ok(!received.includes('cbh_'));
    const log = setup.cambist.stdout();
    for (const secret of [...tokens.values(), 'cbh_']) assert.ok(!log.includes(secret));
  });
});
