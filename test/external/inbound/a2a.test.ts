import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { interleaved, startAgentSetup, USERS } from './agents.ts';

const CALLS = 100;
const WIDTH = 16;

function message(method: string): string {
  const parts = [{ text: 'Who am I?' }];
  const params = { message: { messageId: randomUUID(), role: 'ROLE_USER', parts } };
  return JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
}

function replyOf(body: string): unknown {
  const data = body.startsWith('{') ? body : (/^data: (.*)$/m.exec(body)?.[1] ?? body);
  const text = /"text": ?("(?:[^"\\]|\\.)*")/.exec(data)?.[1];
  assert.ok(text !== undefined, body);
  return JSON.parse(JSON.parse(text) as string);
}

test('an agent on the official A2A SDK passes its caller on without code', async (t) => {
  const setup = await startAgentSetup(t, 'a2a_agent');

  await t.test('the agent card needs no token, and messages do', async () => {
    const card = await fetch(`${setup.inboundUrl}/.well-known/agent-card.json`);
    assert.equal(((await card.json()) as { name: string }).name, 'agent');
    const headers = { 'content-type': 'application/json', 'a2a-version': '1.0' };
    const refused = await fetch(setup.inboundUrl, { method: 'POST', headers, body: message('SendMessage') });
    assert.equal(refused.status, 401);
    assert.match(refused.headers.get('www-authenticate') ?? '', /resource_metadata=/);
  });

  await t.test('every backend call of two users at once has the token of the right user', async () => {
    const results = await interleaved(CALLS, WIDTH, async (user, index) => {
      const response = await fetch(setup.inboundUrl, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${setup.tokens.get(user)}`,
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          'a2a-version': '1.0',
        },
        body: message(index % 2 === 0 ? 'SendMessage' : 'SendStreamingMessage'),
      });
      return replyOf(await response.text());
    });
    for (const user of USERS) {
      assert.deepEqual(results[user], Array(CALLS).fill({ status: 200, user }));
    }
    const { requests } = setup.backends.github;
    for (const user of USERS) assert.equal(requests.filter(({ claims }) => claims?.sub === user).length, CALLS);
    assert.ok(!JSON.stringify(requests.map(({ rawHeaders }) => rawHeaders)).includes('cbh_'));
  });
});
