import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';

const TOKEN = 'broad+token/of-the_user==';
const OTHER = 'token-of-the-workload';

/** Routes of all kinds to one upstream. Two of them have their own token header. */
async function startMixed(t: TestContext) {
  const gateway = await startGateway(t, { route: { subject_token: { header: 'x-user-token' } } });
  const { app, config, upstream } = gateway;
  const more = (name: string, keys: Record<string, unknown>) => ({
    name,
    match: { path: `/${name}` },
    upstream: upstream.url,
    ...keys,
  });
  app.reloadTo({
    ...config,
    routes: [
      ...config.routes,
      more('plain', {}),
      more('service', { credential: 'client_credentials' }),
      more('open', { credential: 'none' }),
      more('own', { credential: 'passthrough', subject_token: { header: 'x-own-token' } }),
    ],
  });
  const send = async (name: string, headers: Record<string, string>) => {
    const { status } = await call(`${app.url}/${name}`, { headers });
    assert.equal(status, 200);
    return upstream.requests.at(-1) ?? assert.fail();
  };
  return { ...gateway, send };
}

test("drops the token header of one route, and copies of its value, on another route's requests", async (t) => {
  const { send } = await startMixed(t);
  for (const name of ['plain', 'service', 'open']) {
    for (const header of ['x-user-token', 'x-own-token', 'X-User-Token']) {
      const headers = { authorization: `Bearer ${OTHER}`, [header]: TOKEN, 'x-copy': `is ${TOKEN}`, 'x-kept': 'yes' };
      const received = await send(name, headers);
      assert.ok(!JSON.stringify(received.rawHeaders).includes(TOKEN), `${name} ${header}`);
      assert.equal(received.headers['x-kept'], 'yes');
    }
  }
});

test('forwards its own token headers on a passthrough route, but not those of other routes', async (t) => {
  const { send } = await startMixed(t);
  const received = await send('own', {
    authorization: `Bearer ${OTHER}`,
    'x-own-token': 'own-token-of-it',
    'x-user-token': TOKEN,
    dpop: 'a-proof',
  });
  assert.deepEqual(received.authorization, [`Bearer ${OTHER}`]);
  assert.equal(received.headers['x-own-token'], 'own-token-of-it');
  assert.equal(received.headers.dpop, 'a-proof');
  assert.equal(received.headers['x-user-token'], undefined);
});

/** Different encodings of the same token. */
const ENCODINGS = {
  unencoded: TOKEN,
  'as a browser encodes it': encodeURIComponent(TOKEN),
  'in lower case': encodeURIComponent(TOKEN).replace(/%../g, (escaped) => escaped.toLowerCase()),
  'with needless escapes': TOKEN.replace('b', '%62').replace('-', '%2D'),
};
for (const [encoding, written] of Object.entries(ENCODINGS)) {
  test(`refuses the caller's token in a query, and drops a cookie that contains it: ${encoding}`, async (t) => {
    const { app, send, upstream, authorizationServer } = await startMixed(t);
    for (const headers of [{ authorization: `Bearer ${TOKEN}` }, { 'x-user-token': TOKEN }]) {
      for (const path of [`/plain?access_token=${written}`, `/open/${written.replace('/', '%2F')}`]) {
        assertProblem(await call(app.url, { path, headers }), 'ERR_SUBJECT_TOKEN_INVALID');
      }
    }
    assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
    const received = await send('plain', { authorization: `Bearer ${TOKEN}`, cookie: `a=1; t=${written}` });
    assert.equal(received.headers.cookie, undefined);
    assert.ok(!app.logText().includes(written));
  });
}

test('refuses a request with too many tokens to compare with the other headers', async (t) => {
  const { app, upstream, authorizationServer } = await startMixed(t);
  const tokens = (count: number) =>
    Array.from({ length: count }, (_, index) => ['X-User-Token', `token-${1000 + index}`]).flat();
  for (const path of ['/plain', '/open', '/own']) {
    const headers = ['Authorization', `Bearer ${OTHER}`, ...tokens(16)];
    assertProblem(await call(app.url, { path, headers }), 'ERR_SUBJECT_TOKEN_INVALID');
  }
  assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
  const headers = ['Authorization', `Bearer ${OTHER}`, ...tokens(15)];
  assert.equal((await call(`${app.url}/plain`, { headers })).status, 200);
});
