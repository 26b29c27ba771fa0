import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import { eventually } from '../../harness/eventually.ts';
import { call } from '../../harness/http-call.ts';
import { type InboundGateway, openHandle, openHandleOf, startInboundGateway } from '../../harness/inbound.ts';
import { sumSamples } from '../../harness/metric-samples.ts';

/** The status of a request of the agent, and the user whose token the backend got. */
async function use({ app, backend }: InboundGateway, headers: Record<string, string>, path = '/github') {
  const before = backend.requests.length;
  const { status } = await call(`${app.url}${path}`, { headers, body: '{}' });
  const [authorization = ''] = backend.requests[before]?.authorization ?? [];
  return authorization === '' ? status : decodeJwt(authorization.replace('Bearer ', '')).sub;
}

const openRequests = async ({ app }: InboundGateway, count: number) =>
  eventually(`${count} requests of callers in flight`, async () => {
    return sumSamples(await app.metrics(), 'cambist_inbound_requests_in_flight') === count;
  });

async function detached({ app }: InboundGateway): Promise<Record<string, number>> {
  const found = (await app.metrics()).matchAll(/^cambist_inbound_detached_requests_total\{result="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...found].map(([, result, count]) => [result, Number(count)]));
}

test('refuses a handle in baggage once its own request is over, though another of its caller is in flight', async (t) => {
  const gateway = await startInboundGateway(t);
  const token = await gateway.mint({ subject: 'alice' });
  const [first, second] = [await openHandleOf(t, gateway, token), await openHandleOf(t, gateway, token)];
  assert.equal(first.handle, second.handle);
  assert.notEqual(first.inBaggage, second.inBaggage);
  for (const { inBaggage } of [first, second]) {
    assert.equal(await use(gateway, { baggage: `cambist=${inBaggage}` }), 'alice');
  }
  first.close();
  await openRequests(gateway, 1);
  assert.equal(await use(gateway, { baggage: `cambist=${first.inBaggage}` }), 401);
  assert.equal(await use(gateway, { baggage: `cambist=${second.inBaggage}` }), 'alice');
  assert.equal(await use(gateway, { baggage: `cambist=${first.inBaggage},cambist=${second.inBaggage}` }), 401);
  assert.deepEqual(await detached(gateway), { allowed: 0, refused: 2 });
});

test('refuses one user’s baggage on a connection that another user’s request goes through', async (t) => {
  const gateway = await startInboundGateway(t);
  const opener = await openHandle(t, gateway, { subject: 'alice' });
  opener.close();
  await openRequests(gateway, 0);
  await openHandle(t, gateway, { subject: 'bob' });
  // The client opened its session in a request of alice, and sends what bob wants with her baggage.
  assert.equal(await use(gateway, { baggage: `cambist=${opener.inBaggage}`, 'mcp-session-id': 's1' }), 401);
  assert.equal(gateway.backend.requests.length, 0);
  assert.match(gateway.app.logText(), /inbound\.detached/);
});

test('lets Authorization name the caller while any of its requests is in flight, whatever the baggage says', async (t) => {
  const gateway = await startInboundGateway(t);
  const token = await gateway.mint({ subject: 'alice' });
  const [first, second] = [await openHandleOf(t, gateway, token), await openHandleOf(t, gateway, token)];
  first.close();
  await openRequests(gateway, 1);
  const authorization = `Bearer ${second.handle}`;
  assert.equal(await use(gateway, { authorization }), 'alice');
  assert.equal(await use(gateway, { authorization, baggage: `cambist=${first.inBaggage}` }), 'alice');
  assert.equal(await use(gateway, { authorization: `Bearer ${second.inBaggage}` }), 'alice');
  assert.equal(await use(gateway, { authorization: `Bearer ${first.inBaggage}` }), 401);
  second.close();
  await openRequests(gateway, 0);
  assert.equal(await use(gateway, { authorization }), 401);
});

test('serves handles after their request with detached: allow, and counts them', async (t) => {
  const gateway = await startInboundGateway(t, { inbound: { detached: 'allow' } });
  const { handle, inBaggage, close } = await openHandle(t, gateway, { subject: 'alice' });
  close();
  await openRequests(gateway, 0);
  assert.equal(await use(gateway, { authorization: `Bearer ${handle}` }), 'alice');
  assert.equal(await use(gateway, { baggage: `cambist=${inBaggage}` }), 'alice');
  assert.deepEqual(await detached(gateway), { allowed: 2, refused: 0 });
});

test('gives and accepts no handle in baggage with baggage: false', async (t) => {
  const gateway = await startInboundGateway(t, { inbound: { baggage: false } });
  const { handle, inBaggage } = await openHandle(t, gateway, { subject: 'alice' });
  assert.equal(inBaggage, '');
  assert.equal(await use(gateway, { authorization: `Bearer ${handle}` }), 'alice');
  assert.equal(await use(gateway, { baggage: `cambist=${handle}` }), 401);
  await call(gateway.url, {
    headers: { authorization: `Bearer ${await gateway.mint()}`, baggage: 'tenant=blue,cambist=x' },
  });
  assert.equal(gateway.agent.requests.at(-1)?.headers.baggage, 'tenant=blue');
});

test('needs no request of the caller on a route that reads no caller', async (t) => {
  const gateway = await startInboundGateway(t, {
    moreRoutes: ({ url }) => [{ name: 'open', match: { path: '/open' }, upstream: url, credential: 'none' }],
  });
  const { handle, inBaggage, close } = await openHandle(t, gateway);
  close();
  await openRequests(gateway, 0);
  const headers = { authorization: `Bearer ${handle}`, baggage: `cambist=${inBaggage}` };
  assert.equal(await use(gateway, headers, '/open'), 200);
  assert.deepEqual(await detached(gateway), { allowed: 0, refused: 0 });
});
