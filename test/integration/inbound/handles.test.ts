import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import { eventually } from '../../harness/eventually.ts';
import { AGENT, type InboundGateway, openHandle, openHandleOf, startInboundGateway } from '../../harness/gateway.ts';
import { call } from '../../harness/http-call.ts';

const codeOf = (text: string): unknown => (JSON.parse(text) as { code?: unknown }).code;

/** Tokens that the backend got, by their subject. */
function lastSubject({ backend }: InboundGateway): string | undefined {
  const [authorization = ''] = backend.requests.at(-1)?.authorization ?? [];
  return decodeJwt(authorization.replace('Bearer ', '')).sub;
}

test('exchanges the token of a handle in Authorization, in baggage or in the header of the route', async (t) => {
  const gateway = await startInboundGateway(t, {
    moreRoutes: ({ url }) => [
      { name: 'named', match: { path: '/named' }, upstream: url, subject_token: { header: 'x-user-token' } },
      { name: 'pass', match: { path: '/pass' }, upstream: url, credential: 'passthrough' },
    ],
  });
  const token = await gateway.mint({ subject: 'alice' });
  const { handle } = await openHandleOf(t, gateway, token);
  const sent: Record<string, string>[] = [
    { authorization: `Bearer ${handle}` },
    { baggage: `cambist=${handle}` },
    { baggage: `tenant=blue, cambist = ${handle};p=1` },
    { baggage: `c%61mbist=${handle.replace('_', '%5F')}` },
    { authorization: `Bearer ${handle}`, baggage: `cambist=${handle}` },
    { authorization: '', baggage: `cambist=${handle}` },
  ];
  for (const headers of sent) {
    const response = await call(`${gateway.app.url}/github`, { headers, body: '{}' });
    assert.equal(response.status, 200, `${JSON.stringify(headers)} ${response.text}`);
    assert.equal(lastSubject(gateway), 'alice');
    assert.ok(!response.text.includes('cbh_'), response.text);
  }
  assert.equal(gateway.authorizationServer.requests.length, 1);
  for (const headers of [...sent.slice(0, 2), { 'x-user-token': handle }]) {
    assert.equal((await call(`${gateway.app.url}/named`, { headers })).status, 200);
    assert.equal(lastSubject(gateway), 'alice');
  }
  for (const headers of sent.slice(0, 2)) {
    await call(`${gateway.app.url}/pass`, { headers });
    const request = gateway.backend.requests.at(-1);
    assert.deepEqual([request?.authorization, request?.headers.baggage], [[`Bearer ${token}`], undefined]);
  }
});

test('keeps the other members of the baggage, and drops copies of the handle', async (t) => {
  const gateway = await startInboundGateway(t);
  const handle = (await openHandle(t, gateway)).handle;
  const encoded = handle.replace('cbh', '%63bh');
  await call(`${gateway.app.url}/github`, {
    headers: {
      authorization: `Bearer ${handle}`,
      baggage: `tenant=blue,cambist=${handle},copy=${handle}`,
      'x-copy': `a${handle}b`,
      'x-basic': `Basic ${btoa(`user:${handle}`)}`,
      'x-encoded': encoded,
      cookie: `x=1; h=${handle}`,
      'x-request-id': handle,
      tracestate: `v=${handle}`,
      'x-kept': 'yes',
    },
  });
  const request = gateway.backend.requests.at(-1);
  assert.equal(request?.headers.baggage, 'tenant=blue');
  assert.equal(request?.headers['x-kept'], 'yes');
  const text = JSON.stringify(request?.rawHeaders);
  assert.ok(!text.includes('cbh') && !text.includes(encoded) && !text.includes('Basic'), text);
  assert.ok(!gateway.app.logText().includes('cbh_'));
});

test('returns 401 for an unknown, expired or second handle, a raw token and a handle in the URL or a name', async (t) => {
  const gateway = await startInboundGateway(t, {
    moreRoutes: ({ url }) => [
      { name: 'open', match: { path: '/open' }, upstream: url, credential: 'none' },
      { name: 'own', match: { path: '/own' }, upstream: url, credential: 'client_credentials' },
      { name: 'pass', match: { path: '/pass' }, upstream: url, credential: 'passthrough' },
    ],
  });
  const [one, other] = [(await openHandle(t, gateway)).handle, (await openHandle(t, gateway)).handle];
  const unknown = `cbh_${'A'.repeat(43)}`;
  const everywhere: [string, Record<string, string>][] = [
    ['', { authorization: `Bearer ${unknown}` }],
    ['', { 'x-anything': unknown }],
    ['', { authorization: `Bearer ${one}`, cookie: `sid=${other}-1` }],
    ['', { authorization: `Bearer ${one}`, tracestate: `v=s_${other}` }],
    ['', { authorization: `Bearer ${one}`, 'x-basic': `Basic ${btoa(`u:${other}`)}` }],
    ['', { [one]: 'x' }],
    ['', { [`x-${one}`]: 'x' }],
    ['', { baggage: 'cambist=no-handle' }],
    ['', { authorization: `Bearer ${one}`, baggage: `cambist=${other}` }],
    ['', { baggage: `cambist=${one},cambist=${other}` }],
    [`?h=${one}`, { authorization: `Bearer ${one}` }],
    [`?h=${one.replace('_', '%5f')}`, {}],
    [`?h=${one.replace('_', '%255f')}`, {}],
    [`?h=x${one}x`, {}],
  ];
  for (const path of ['/github', '/open', '/own', '/pass']) {
    for (const [query, headers] of everywhere) {
      const response = await call(`${gateway.app.url}${path}${query}`, { headers });
      assert.equal(response.status, 401, `${path} ${JSON.stringify(headers)}`);
      assert.equal(codeOf(response.text), 'ERR_HANDLE_INVALID');
    }
  }
  const raw = await gateway.authorizationServer.mint();
  for (const path of ['/github', '/pass']) {
    for (const headers of [
      { authorization: `Bearer ${raw}` },
      { authorization: `Bearer ${raw}`, baggage: `cambist=${one}` },
    ]) {
      assert.equal(codeOf((await call(`${gateway.app.url}${path}`, { headers })).text), 'ERR_HANDLE_INVALID', path);
    }
  }
  const lost = await call(`${gateway.app.url}/github`);
  assert.equal(codeOf(lost.text), 'ERR_SUBJECT_TOKEN_MISSING');
  assert.match((JSON.parse(lost.text) as { detail: string }).detail, /has no handle.*baggage/);
  await eventually('the reason', () => gateway.app.logs.some(({ finding }) => finding === 'handle_missing'));
  assert.equal(gateway.backend.requests.length, 0);
});

test('accepts raw tokens with allow_raw_tokens, but not beside another caller’s handle', async (t) => {
  const gateway = await startInboundGateway(t, { inbound: { allow_raw_tokens: true } });
  const handle = (await openHandle(t, gateway, { subject: 'alice' })).handle;
  const raw = await gateway.authorizationServer.mint({ subject: 'bob' });
  const authorization = `Bearer ${raw}`;
  assert.equal((await call(`${gateway.app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal(lastSubject(gateway), 'bob');
  const both = await call(`${gateway.app.url}/github`, { headers: { authorization, baggage: `cambist=${handle}` } });
  assert.equal(codeOf(both.text), 'ERR_HANDLE_INVALID');
});

test('keeps handles over a reload, also one without inbound, until inbound.verify changes', async (t) => {
  const gateway = await startInboundGateway(t);
  const headers = { authorization: `Bearer ${(await openHandle(t, gateway)).handle}` };
  const { inbound, ...without } = gateway.config;
  assert.deepEqual(gateway.app.reloadTo(without), ['inbound']);
  const authorization = `Bearer ${await gateway.authorizationServer.mint()}`;
  assert.equal((await call(`${gateway.app.url}/github`, { headers: { authorization } })).status, 401);
  gateway.app.reloadTo({ ...gateway.config, inbound: { ...inbound, claims: { 'x-user': 'sub' } } });
  assert.equal((await call(`${gateway.app.url}/github`, { headers })).status, 200);
  const verify = { issuer: gateway.authorizationServer.issuer, audience: [AGENT, 'other'] };
  gateway.app.reloadTo({ ...gateway.config, inbound: { ...inbound, verify } });
  assert.equal((await call(`${gateway.app.url}/github`, { headers })).status, 401);
});

/** The status of a request of the agent, and the user whose token the backend got. */
async function use({ app, backend }: InboundGateway, headers: Record<string, string>, path = '/github') {
  const before = backend.requests.length;
  const { status } = await call(`${app.url}${path}`, { headers, body: '{}' });
  const [authorization = ''] = backend.requests[before]?.authorization ?? [];
  return authorization === '' ? status : decodeJwt(authorization.replace('Bearer ', '')).sub;
}

const openRequests = ({ app }: InboundGateway, count: number) =>
  app.metricBecomes('cambist_inbound_requests_in_flight', count);

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

test('drops whatever a route that reads no caller gets, and needs no request of the caller there', async (t) => {
  const gateway = await startInboundGateway(t, {
    moreRoutes: ({ url }) => [{ name: 'open', match: { path: '/open' }, upstream: url, credential: 'none' }],
  });
  const { handle, inBaggage, close } = await openHandle(t, gateway);
  close();
  await openRequests(gateway, 0);
  for (const authorization of [`Bearer ${handle}`, 'Bearer raw-token-of-the-agent']) {
    assert.equal(await use(gateway, { authorization, baggage: `cambist=${inBaggage}` }, '/open'), 200);
    const request = gateway.backend.requests.at(-1);
    assert.deepEqual([request?.authorization, request?.headers.baggage], [[], undefined]);
  }
  assert.deepEqual(await detached(gateway), { allowed: 0, refused: 0 });
});
