import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CANARY, provokeUnlogged } from '../harness/expected-problem.ts';
import type { Behaviour } from '../harness/fake-authorization-server.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';

const UNUSABLE: Record<string, Behaviour> = {
  'HTML with status 200': { kind: 'response', status: 200, body: `<h1>${CANARY}</h1>` },
  'an empty body with status 200': { kind: 'response', status: 200, body: '' },
  'a list': { kind: 'response', status: 200, body: [{ access_token: 'x' }] },
  'status 201': { kind: 'response', status: 201, body: { access_token: 'canary-token', token_type: 'Bearer' } },
  'a redirect': { kind: 'response', status: 307, body: CANARY, headers: { location: 'http://127.0.0.1:1/token' } },
  'no access_token': { kind: 'issue', fields: { access_token: undefined } },
  'an empty access_token': { kind: 'issue', accessToken: '' },
  'an access_token that would end the header': { kind: 'issue', accessToken: 'canary\r\nx-evil: 1' },
  'an access_token that is an object': { kind: 'issue', fields: { access_token: { token: CANARY } } },
  'no token_type': { kind: 'issue', fields: { token_type: undefined } },
  'token_type N_A': { kind: 'issue', fields: { token_type: 'N_A' } },
  'token_type DPoP': { kind: 'issue', fields: { token_type: 'DPoP' } },
  'an id_token in place of an access token': {
    kind: 'issue',
    fields: { issued_token_type: 'urn:ietf:params:oauth:token-type:id_token' },
  },
  'a malformed expires_in': { kind: 'issue', fields: { expires_in: 'soon' } },
  'a body above the size limit': { kind: 'huge', bytes: 1024 * 1024 },
};

test('returns an error for an unusable token response', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const logChecks: (() => Promise<void>)[] = [];
  for (const [response, behaviour] of Object.entries(UNUSABLE)) {
    await t.test(`returns ERR_STS_RESPONSE_INVALID for ${response}`, async () => {
      setup.authorizationServer.queue.push(behaviour);
      const headers = await setup.bearer();
      const expected = { code: 'ERR_STS_RESPONSE_INVALID', failedExchanges: 1 } as const;
      logChecks.push((await provokeUnlogged(setup, { headers }, expected)).checkLog);
      assert.equal((await setup.call({ headers })).status, 200, 'the next request causes another exchange');
    });
  }

  await t.test('logs each error', async () => {
    for (const checkLog of logChecks) await checkLog();
  });
});

test('refuses a token for another audience', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const logChecks: (() => Promise<void>)[] = [];
  const audiences: Record<string, Extract<Behaviour, { kind: 'issue' }>> = {
    'another backend': { kind: 'issue', audience: 'https://canary.example.com/mcp' },
    'a backend whose name only starts with the same characters': {
      kind: 'issue',
      audience: `${setup.upstream.url}/mcp/canary`,
    },
    cambist: { kind: 'issue', audience: 'cambist' },
    'no audience': { kind: 'issue', audience: [] },
  };
  for (const [audience, behaviour] of Object.entries(audiences)) {
    await t.test(`returns ERR_ISSUED_TOKEN_AUDIENCE for a token for ${audience}`, async () => {
      setup.authorizationServer.queue.push(behaviour);
      const headers = await setup.bearer();
      const expected = { code: 'ERR_ISSUED_TOKEN_AUDIENCE', failedExchanges: 1 } as const;
      logChecks.push((await provokeUnlogged(setup, { headers }, expected)).checkLog);
    });
  }

  await t.test('forwards a token for this backend and others', async () => {
    setup.authorizationServer.queue.push({
      kind: 'issue',
      audience: ['https://x.example.com', `${setup.upstream.url}/mcp`],
    });
    assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  });

  await t.test('logs each error', async () => {
    for (const checkLog of logChecks) await checkLog();
  });
});
