import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { installKagent } from '../installs.ts';
import { type AgentSetup, interleaved, startAgentSetup, USERS } from './agents.ts';

const CALLS = 100;
/** kagent opens an MCP session for each request. */
const WIDTH = 8;
const install = installKagent;

function message(): string {
  const parts = [{ kind: 'text', text: 'Who am I?' }];
  const params = { message: { kind: 'message', messageId: randomUUID(), role: 'user', parts } };
  return JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'message/send', params });
}

/** Calls the agent as each user, and returns the users whose token the backend got. */
async function usersSeen({ inboundUrl, tokens }: AgentSetup, path: string, calls: number) {
  return interleaved(calls, WIDTH, async (user) => {
    const headers = { authorization: `Bearer ${tokens.get(user)}`, 'content-type': 'application/json' };
    const response = await fetch(inboundUrl + path, { method: 'POST', headers, body: message() });
    const found = (await response.text()).matchAll(/\\*"sub\\*":\\*"(\w+)\\*"/g);
    return [...new Set([...found].map(([, sub]) => sub))];
  });
}

const allOf = (user: string, calls: number) => Array(calls).fill([user]);

test('kagent’s runtime passes its caller on without code, and uses no handle after its request', async (t) => {
  const setup = await startAgentSetup(t, 'kagent_agent', { install });
  const seen = await usersSeen(setup, '', CALLS);
  for (const user of USERS) assert.deepEqual(seen[user], allOf(user, CALLS));
  const { requests, sessionIds } = setup.backends.github;
  assert.ok(!JSON.stringify(requests.map(({ rawHeaders }) => rawHeaders)).includes('cbh_'));
  assert.deepEqual(sessionIds(), []);
  assert.match(await setup.cambist.metrics(), /cambist_inbound_detached_requests_total\{result="refused"\} 0/);
});

test('google-adk with one toolset for all users passes callers on by Authorization alone', async (t) => {
  const env = { ALLOWED_HEADERS: 'authorization' };
  const setup = await startAgentSetup(t, 'kagent_agent', { install, env, inbound: { baggage: false } });
  const seen = await usersSeen(setup, '/shared', 20);
  for (const user of USERS) assert.deepEqual(seen[user], allOf(user, 20));
});

test('google-adk with one toolset, and neither header, gets 401 for every call', async (t) => {
  const setup = await startAgentSetup(t, 'kagent_agent', { install, inbound: { baggage: false } });
  const headers = { authorization: `Bearer ${setup.tokens.get('alice')}` };
  await fetch(`${setup.inboundUrl}/shared`, { method: 'POST', headers });
  assert.equal(setup.backends.github.requests.length, 0);
});
