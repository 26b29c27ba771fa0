import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeRoutes } from '../../../src/commands/run.ts';
import { configOf } from '../../harness/app.ts';

const SERVER = { issuer: 'https://idp.example.com', client_id: 'cambist', client_auth: { method: 'none' } };

const LISTEN = 'http://127.0.0.1:8180';

function described(route: Record<string, unknown>, more: Record<string, unknown> = {}, listen = LISTEN): string {
  const routes = [{ name: 'r', match: { path: '/r' }, upstream: 'https://mcp.example.com/mcp', ...route }];
  const [text = ''] = describeRoutes(configOf({ authorization_servers: { main: SERVER }, routes, ...more }), listen);
  return text;
}

for (const [route, text] of [
  [{}, 'r: http://127.0.0.1:8180/r → https://mcp.example.com/mcp (aud https://mcp.example.com/mcp)'],
  [{ audience: 'mcp' }, /\(aud mcp\)$/],
  [{ expect_audience: { only: ['a', 'b'] } }, /\(aud a or b\)$/],
  [{ expect_audience: 'any' }, /\(aud not checked\)$/],
  [{ credential: 'none' }, /\(no token\)$/],
  [{ credential: 'secret', secret: { file: '/key' } }, /\(a secret\)$/],
  [{ credential: 'passthrough' }, /\(the caller's own token\)$/],
  [{ credential: 'client_credentials', audience: 'mcp' }, /\(cambist's own token, aud mcp\)$/],
  [{ match: { host: '127.0.0.1', path: '/r' } }, /^r: http:\/\/127\.0\.0\.1:8180\/r →/],
  [{ match: { host: '*.example.com', path: '/' } }, /^r: http:\/\/\*\.example\.com\/ →/],
  [{ match: { path: '/r', mcp_method: 'tools/call', mcp_name: 'search*' } }, /\/r \[tools\/call, search\*\] →/],
] as const) {
  test(`describes a route in one line: ${JSON.stringify(route)}`, () => {
    if (typeof text === 'string') assert.equal(described(route), text);
    else assert.match(described(route), text);
  });
}

test('names the https URL of a host at a listener with TLS', () => {
  const match = { host: 'cambist-gateway.agents.svc', path: '/r' };
  assert.match(described({ match }, {}, 'https://0.0.0.0:8180'), /^r: https:\/\/cambist-gateway\.agents\.svc\/r →/);
});

test('names the https URL of a host whose connections are intercepted', () => {
  const intercept = { trust_dir: '/run/trust' };
  assert.match(
    described({ match: { host: 'mcp.example.com', path: '/' } }, { intercept }),
    /^r: https:\/\/mcp\.example/,
  );
  assert.match(described({ match: { path: '/r' } }, { intercept }), /^r: http:\/\/127\.0\.0\.1:8180\/r →/);
});

test('describes the first 50 of many routes, and counts the others', () => {
  const routes = Array.from({ length: 60 }, (_, n) => ({
    name: `r${n}`,
    match: { path: `/${n}` },
    upstream: 'https://mcp.example.com/mcp',
  }));
  const lines = describeRoutes(configOf({ authorization_servers: { main: SERVER }, routes }), LISTEN);
  assert.equal(lines.length, 51);
  assert.match(lines[49] ?? '', /^r49: /);
  assert.equal(lines[50], 'and 10 more: see the status page');
});
