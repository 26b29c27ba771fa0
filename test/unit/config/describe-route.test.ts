import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeRoute } from '../../../src/config/describe-route.ts';
import { configOf } from '../../harness/app.ts';

const SERVER = { issuer: 'https://idp.example.com', client_id: 'cambist', client_auth: { method: 'none' } };

function described(route: Record<string, unknown>): string {
  const routes = [{ name: 'r', match: { path: '/r' }, upstream: 'https://mcp.example.com/mcp', ...route }];
  const [resolved] = configOf({ authorization_servers: { main: SERVER }, routes }).routes;
  assert.ok(resolved !== undefined);
  return describeRoute(resolved, 'http://127.0.0.1:8180');
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
