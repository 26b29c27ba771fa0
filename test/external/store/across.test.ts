import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONSENT_REFUSAL, INTERACTION, modernCall } from '../../harness/consent.ts';
import { type FakeUpstream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { call } from '../../harness/http-call.ts';
import { echo } from '../../harness/upstream-handlers.ts';
import { type FleetConfig, startFleet, waitForStore } from './fleet.ts';
import { findStore } from './programs.ts';
import { startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

/** The audience of callers' tokens. */
const AGENT = 'agent';

test("the handle that one replica gave to the agent stands for its caller's token at another", async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const wire = await startTcpProxy(store.port);
  t.after(wire.close);
  const agent: FakeUpstream = await startFakeUpstream(echo);
  t.after(agent.close);
  const fleet = await startFleet(t, {
    shared: { url: `redis://127.0.0.1:${wire.port}`, timeout: '5s' },
    change: (config, { authorizationServer }): FleetConfig => ({
      ...config,
      inbound: {
        listen: '127.0.0.1:0',
        agent: agent.url,
        // The agent may use the handle after its request.
        detached: 'allow',
        verify: { issuer: authorizationServer.issuer, audience: AGENT },
      },
    }),
  });
  for (const replica of fleet.replicas) await waitForStore(replica);
  const token = await fleet.authorizationServer.mint({ subject: 'alice', audience: AGENT });
  const headers = { authorization: `Bearer ${token}` };
  const first = await call(`${fleet.replicas[0]?.inboundUrl}/`, { headers });
  assert.equal(first.status, 200);
  const handle = agent.requests.at(-1)?.authorization[0]?.replace('Bearer ', '') ?? '';
  assert.match(handle, /^cbh_/);
  await fleet.assertServed(1, handle);
  assert.equal(fleet.authorizationServer.requests.at(-1)?.form.get('subject_token'), token);
  // An altered handle stands for no token.
  const altered = handle.slice(0, -1) + (handle.endsWith('A') ? 'B' : 'A');
  assert.equal((await fleet.call(1, altered)).status, 401);
  for (const secret of [token, handle]) fleet.leaks.remember(secret);
  fleet.leaks.assertNoLeak({ wire: wire.recorded().toString('latin1') });
});

test('the consent that one replica asked for is continued at another', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const fleet = await startFleet(t, {
    shared: { url: `redis://127.0.0.1:${store.port}`, timeout: '5s' },
    change: (config) => ({ ...config, interaction: INTERACTION }),
  });
  for (const replica of fleet.replicas) await waitForStore(replica);
  fleet.authorizationServer.behaviour = CONSENT_REFUSAL;
  const token = await fleet.newCaller();
  const message = modernCall();
  const asked = await fleet.call(0, token, message);
  const { result } = JSON.parse(asked.text);
  assert.equal(result.resultType, 'input_required');
  fleet.authorizationServer.behaviour = { kind: 'issue' };
  const { params, ...rest } = JSON.parse(message.body);
  const answer = { inputResponses: { 'cambist-consent': { action: 'accept' } }, requestState: result.requestState };
  const retry = {
    headers: message.headers,
    body: JSON.stringify({ ...rest, id: 2, params: { ...params, ...answer } }),
  };
  const other = await fleet.call(1, await fleet.newCaller('another-user@example.com'), retry);
  assert.doesNotMatch(other.text, /rawHeaders/, other.text);
  const continued = await fleet.call(1, token, retry);
  assert.equal(continued.status, 200, continued.text);
  const forwarded = JSON.parse(String(await fleet.backend.requests.at(-1)?.body()));
  assert.deepEqual(forwarded.params, params);
});
