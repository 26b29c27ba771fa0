import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withDashes, withheldHeaders } from '../../../src/proxy/request-headers.ts';
import { configOf } from '../../harness/app.ts';

const OVERRIDES = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-method',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
  'x_http_method_override',
  'x-original_url',
];

const tokens = new Set(['authorization', 'x-user-token']);
const withheldWith = (top: Record<string, unknown>, ...matches: Record<string, unknown>[]) => {
  const routes = matches.map(({ credential = 'none', header, ...match }, index) => ({
    name: `r${index}`,
    match,
    upstream: 'http://127.0.0.1:1',
    credential,
    ...(header !== undefined && { subject_token: { header } }),
  }));
  return withheldHeaders(configOf({ ...top, routes }), tokens);
};

test('withholds token headers, proofs and the host header, in every spelling with an underscore', () => {
  const { common } = withheldWith({ host_header: 'x-kagent-host' }, { host: 'h' });
  for (const name of ['authorization', 'dpop', 'x-user-token', 'x_user_token', 'x-user_token', 'x_kagent-host']) {
    assert.ok(common.has(withDashes(name)), name);
  }
  assert.ok(!common.has('x-http-method-override'));
});

test('withholds override headers if a route matches by path, method or message', () => {
  for (const match of [{ path: '/mcp' }, { host: 'h', methods: ['GET'] }, { host: 'h', mcp_name: 'x' }]) {
    const { common } = withheldWith({}, { host: 'other' }, match);
    for (const name of OVERRIDES) assert.ok(common.has(withDashes(name)), name);
  }
  const { common } = withheldWith({}, { host: 'one' }, { host: '*.two' }, { path: '/' });
  for (const name of OVERRIDES) assert.ok(!common.has(withDashes(name)), name);
});

test('treats names that are configured with underscores like those with dashes', () => {
  const { onPassthrough, common } = withheldHeaders(
    configOf({
      host_header: 'x_kagent_host',
      routes: [
        {
          name: 'own',
          match: { host: 'h' },
          upstream: 'http://127.0.0.1:1',
          credential: 'passthrough',
          subject_token: { header: 'x_own_token' },
        },
      ],
    }),
    new Set(['authorization', 'x_own_token']),
  );
  assert.deepEqual([...common], ['authorization', 'x-own-token', 'dpop', 'x-kagent-host']);
  assert.deepEqual(
    [...onPassthrough.values()].map((names) => [...names]),
    [['x-kagent-host']],
  );
});

test('lets the token header of a passthrough route pass on that route, but no other withheld header', () => {
  const own = { credential: 'passthrough', header: 'x-own-token', path: '/own' };
  const { onPassthrough } = withheldWith({ host_header: 'x-kagent-host' }, { path: '/x' }, own);
  const [withheld] = onPassthrough.values();
  for (const name of ['authorization', 'dpop', 'x-own-token'])
    assert.ok(withheld?.has(withDashes(name)) === false, name);
  for (const name of ['x-user-token', 'x_user_token', 'x-kagent-host', ...OVERRIDES]) {
    assert.ok(withheld?.has(withDashes(name)), name);
  }
});
