import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONSENT_REFUSAL, INTERACTION, modernCall } from '../../harness/consent.ts';
import { echo, type FakeUpstream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { call } from '../../harness/http-call.ts';
import { startReplicas, waitForStore } from './replicas.ts';
import { startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

/** The audience of callers' tokens. */
const AGENT = 'agent';

test("the handle that one replica gave to the agent stands for its caller's token at another", async (t) => {
  const store = await startStore(t);
  const wire = await startTcpProxy(t, store.port);
  const agent: FakeUpstream = await startFakeUpstream(t, echo);
  const replicas = await startReplicas(t, {
    shared: wire.port,
    more: ({ authorizationServer }) => ({
      inbound: {
        listen: '127.0.0.1:0',
        agent: agent.url,
        // The agent may use the handle after its request.
        detached: 'allow',
        verify: { issuer: authorizationServer.issuer, audience: AGENT },
      },
    }),
  });
  await waitForStore(replicas);
  const token = await replicas.authorizationServer.mint({ subject: 'alice', audience: AGENT });
  const headers = { authorization: `Bearer ${token}` };
  const first = await call(`${replicas.apps[0]?.inbound}/`, { headers });
  assert.equal(first.status, 200);
  const handle = agent.requests.at(-1)?.authorization[0]?.replace('Bearer ', '') ?? '';
  assert.match(handle, /^cbh_/);
  await replicas.assertServed(1, handle);
  assert.equal(replicas.authorizationServer.requests.at(-1)?.form.get('subject_token'), token);
  // An altered handle stands for no token.
  const altered = handle.slice(0, -1) + (handle.endsWith('A') ? 'B' : 'A');
  assert.equal((await replicas.call(1, altered)).status, 401);
  for (const secret of [token, handle]) replicas.leaks.remember(secret);
  replicas.leaks.assertNoLeak({ wire: wire.recorded().toString('latin1') });
});

test('the consent that one replica asked for is continued at another', async (t) => {
  const store = await startStore(t);
  const replicas = await startReplicas(t, {
    shared: store.port,
    more: () => ({ interaction: INTERACTION }),
  });
  await waitForStore(replicas);
  replicas.authorizationServer.behaviour = CONSENT_REFUSAL;
  const token = await replicas.newCaller();
  const message = modernCall();
  const asked = await replicas.call(0, token, message);
  const { result } = JSON.parse(asked.text);
  assert.equal(result.resultType, 'input_required');
  replicas.authorizationServer.behaviour = { kind: 'issue' };
  const { params, ...rest } = JSON.parse(message.body);
  const answer = { inputResponses: { 'cambist-consent': { action: 'accept' } }, requestState: result.requestState };
  const retry = {
    headers: message.headers,
    body: JSON.stringify({ ...rest, id: 2, params: { ...params, ...answer } }),
  };
  const continued = await replicas.call(1, token, retry);
  assert.equal(continued.status, 200, continued.text);
  const forwarded = JSON.parse(String(await replicas.backend.requests.at(-1)?.body()));
  assert.deepEqual(forwarded.params, params);
});
