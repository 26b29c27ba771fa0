import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { handleText } from '../../../src/inbound/handle-text.ts';
import { lastHandle, startInboundGateway } from '../../harness/gateway.ts';
import { call } from '../../harness/http-call.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { words } from '../../harness/words.ts';

const HANDLE = /^cbh_[\w-]{43}$/;
const STOLEN = handleText('s'.repeat(43));

test('gives the agent a handle in place of the token, in Authorization and as first baggage member', async (t) => {
  const gateway = await startInboundGateway(t);
  const token = await gateway.mint();
  const headers = { authorization: `Bearer ${token}`, baggage: 'tenant=blue', 'x-custom': 'kept' };
  const response = await call(`${gateway.url}/chat?q=1`, { headers, body: 'hello' });
  assert.equal(response.status, 200);
  const [request] = gateway.agent.requests;
  const handle = lastHandle(gateway);
  assert.match(handle, HANDLE);
  assert.deepEqual(request?.authorization, [`Bearer ${handle}`]);
  assert.equal(request?.headers.baggage, `cambist=${handle}.1,tenant=blue`);
  assert.equal(request?.headers['x-custom'], 'kept');
  assert.equal(request?.headers.host, new URL(gateway.url).host);
  assert.equal(request?.url, '/chat?q=1');
  assert.ok(!response.text.includes(token));
});

test('drops copies of the token, the caller’s claim headers and its cambist baggage', async (t) => {
  const gateway = await startInboundGateway(t, { inbound: { claims: { 'x-user-id': 'sub', 'x-groups': 'groups' } } });
  const token = await gateway.mint({ subject: 'alice', claims: { groups: ['a', 'b'] } });
  const headers = [
    ...['Authorization', `Bearer ${token}`],
    ...['X-Forwarded-Access-Token', token],
    ...['Cookie', `session=${encodeURIComponent(token)}`],
    ...['X-Basic', `Basic ${btoa(`alice:${token}`)}`, `x-${token}`, 'name'],
    ...['Connection', 'authorization, baggage, x-user-id', 'x-stolen', `cbh_${'s'.repeat(43)}`],
    ...['x-glued', `sid=${STOLEN}-1`, 'cookie', `s_${STOLEN}`, 'tracestate', `v=${STOLEN}x`, `x-${STOLEN}`, 'name'],
    ...['X-User-Id', 'mallory', 'X_User_Id', 'mallory', 'x-groups', 'admin'],
    ...['baggage', `c%61mbist=cbh_x,%20cambist+=y;p=1,copy=${token},tenant=blue,stolen=${STOLEN}`],
    ...['baggage', `team=green,cambist=${STOLEN}`],
  ];
  await call(gateway.url, { headers });
  const [request] = gateway.agent.requests;
  assert.ok(!JSON.stringify(request?.rawHeaders).includes(token));
  assert.ok(!JSON.stringify(request?.rawHeaders).includes(STOLEN));
  for (const name of ['x-basic', 'x-stolen', 'x-glued', 'cookie', 'tracestate']) {
    assert.equal(request?.headers[name], undefined, name);
  }
  assert.ok(!JSON.stringify(request?.rawHeaders).includes('mallory'));
  assert.deepEqual(request?.authorization, [`Bearer ${lastHandle(gateway)}`]);
  assert.equal(request?.headers['x-user-id'], 'alice');
  assert.equal(request?.headers['x-groups'], 'a,b');
  assert.equal(request?.headers.baggage, `cambist=${lastHandle(gateway)}.1,tenant=blue,team=green`);
  // An agent that reads a limited number of headers reads these.
  const names = request?.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  assert.deepEqual(names?.slice(1, 6), ['host', 'authorization', 'x-user-id', 'x-groups', 'baggage']);
});

test('returns 401 with the challenge and the metadata of the agent without a valid token', async (t) => {
  const gateway = await startInboundGateway(t);
  const { issuer } = gateway.authorizationServer;
  const invalid = {
    forged: `${(await gateway.mint()).slice(0, -8)}AAAAAAAA`,
    'for another audience': await gateway.mint({ audience: 'other' }),
    expired: await gateway.mint({ ttlSeconds: -1 }),
    'without exp': await gateway.mint({ ttlSeconds: Number.POSITIVE_INFINITY }),
    opaque: 'opaque-token',
    'a handle': `cbh_${'a'.repeat(43)}`,
  };
  const resource = `${gateway.url}/.well-known/oauth-protected-resource/chat`;
  for (const [name, token] of Object.entries(invalid)) {
    const response = await call(`${gateway.url}/chat`, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(response.status, 401, name);
    const challenge = response.headers['www-authenticate'] ?? '';
    assert.match(challenge, /^Bearer error="invalid_token"/, name);
    assert.ok(challenge.includes(`resource_metadata="${resource}"`), name);
  }
  const missing = await call(`${gateway.url}/chat`);
  assert.equal(missing.status, 401);
  assert.equal(missing.headers['www-authenticate'], `Bearer resource_metadata="${resource}"`);
  const metadata = await call(resource);
  assert.deepEqual(JSON.parse(metadata.text), {
    resource: `${gateway.url}/chat`,
    authorization_servers: [issuer],
    bearer_methods_supported: ['header'],
  });
  assert.equal(gateway.agent.requests.length, 0);
});

test('drops headers that override method or path, if a path is open', async (t) => {
  const overrides = ['X-Original-URL', 'X-Rewrite-URL', 'X_Original_URL', 'X-HTTP-Method-Override'];
  for (const [open, expected] of [
    [['/healthz'], []],
    [[], overrides],
  ]) {
    const gateway = await startInboundGateway(t, { inbound: { open } });
    const headers = overrides.flatMap((name) => [name, '/admin']);
    const authorization = `Bearer ${await gateway.mint()}`;
    await call(`${gateway.url}/healthz`, { headers: ['authorization', authorization, ...headers] });
    const { rawHeaders = [] } = gateway.agent.requests.at(-1) ?? {};
    assert.deepEqual(
      rawHeaders.filter((_, index) => rawHeaders[index + 1] === '/admin'),
      expected,
    );
  }
});

test('opens only the plain spelling of open paths, and gives the agent no handle there', async (t) => {
  const gateway = await startInboundGateway(t, { inbound: { open: ['/healthz', '/public/*'] } });
  const token = await gateway.mint();
  for (const path of ['/healthz', '/healthz?full=1', '/public/', '/public/a/b', `http://other.example/healthz`]) {
    assert.equal((await call(gateway.url, { path })).status, 200, path);
  }
  await call(`${gateway.url}/healthz`, {
    headers: { authorization: `Bearer ${token}`, 'x-copy': token, baggage: 'cambist=x,a=b' },
  });
  const request = gateway.agent.requests.at(-1);
  assert.deepEqual(request?.authorization, []);
  assert.equal(request?.headers['x-copy'], undefined);
  assert.equal(request?.headers.baggage, 'a=b');
  await call(`${gateway.url}/healthz`, {
    headers: ['authorization', `Bearer ${token}`, 'baggage', `copy=${token}`, 'baggage', 'a=b'],
  });
  assert.equal(gateway.agent.requests.at(-1)?.headers.baggage, 'a=b');
  const count = gateway.agent.requests.length;
  for (const path of words(`
    /healthz/ //healthz /%68ealthz /healthz%00 /public /public//x /public/;x /public/\\x /public/%2e%2e/x /public/../x
    /public/..;/x /public/%2fx /x/../healthz /x?/healthz /x#/healthz http://other.example//healthz http://other.example *
  `)) {
    const { status } = await call(gateway.url, { path, method: path === '*' ? 'OPTIONS' : 'GET' });
    assert.ok([400, 401, 403].includes(status), `${path}: ${status}`);
  }
  assert.equal(gateway.agent.requests.length, count);
});

test('reaches an agent on a Unix socket, and listens on one', async (t) => {
  const folder = temporaryFolder(t);
  const socketPath = join(folder, 'agent.sock');
  const seen: (string | undefined)[] = [];
  const agent = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end('from the socket');
  }).listen(socketPath);
  await once(agent, 'listening');
  t.after(() => agent.close());
  const listen = join(folder, 'callers.sock');
  const gateway = await startInboundGateway(t, { inbound: { agent: `unix:${socketPath}`, listen: `unix:${listen}` } });
  const response = await call('http://localhost/chat', {
    socketPath: listen,
    headers: { authorization: `Bearer ${await gateway.mint()}` },
  });
  assert.equal(response.text, 'from the socket');
  assert.match(seen[0] ?? '', /^Bearer cbh_/);
});
