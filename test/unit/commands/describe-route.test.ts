import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeRoutes } from '../../../src/commands/run.ts';
import { configOf, routeTo } from '../../harness/app.ts';

const SERVER = { issuer: 'https://idp.example.com', client_id: 'cambist', client_auth: { method: 'none' } };

const LISTEN = 'http://127.0.0.1:8180';

const GATEWAY = { match: { host: 'cambist-gateway.agents.svc', path: '/r' } };
const INTERCEPT = { intercept: { trust_dir: '/run/trust' } };

for (const [route, text, more = {}, listen = LISTEN] of [
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
  [GATEWAY, /^r: https:\/\/cambist-gateway\.agents\.svc\/r →/, {}, 'https://0.0.0.0:8180'],
  [{ match: { host: 'mcp.example.com', path: '/' } }, /^r: https:\/\/mcp\.example/, INTERCEPT],
  [{}, /^r: http:\/\/127\.0\.0\.1:8180\/r →/, INTERCEPT],
] as const) {
  test(`describes a route in one line: ${JSON.stringify([route, more, listen])}`, () => {
    const routes = [routeTo('r', 'https://mcp.example.com/mcp', route)];
    const [line = ''] = describeRoutes(configOf({ authorization_servers: { main: SERVER }, routes, ...more }), listen);
    if (typeof text === 'string') assert.equal(line, text);
    else assert.match(line, text);
  });
}

test('describes the first 50 of many routes, and counts the others', () => {
  const routes = Array.from({ length: 60 }, (_, n) => routeTo(`r${n}`, 'https://mcp.example.com/mcp'));
  const lines = describeRoutes(configOf({ authorization_servers: { main: SERVER }, routes }), LISTEN);
  assert.equal(lines.length, 51);
  assert.match(lines[49] ?? '', /^r49: /);
  assert.equal(lines[50], 'and 10 more: see the status page');
});
