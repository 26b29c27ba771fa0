import assert from 'node:assert/strict';
import { test } from 'node:test';
import { throughOptions } from '../../../src/commands/doctor-through.ts';
import { configOf } from '../../harness/app.ts';

const config = configOf({
  authorization_servers: {
    main: { token_endpoint: 'https://idp/token', client_id: 'c', client_auth: { method: 'none' } },
  },
  routes: [
    { name: 'github', match: { path: '/github' }, upstream: 'http://127.0.0.1:9000/mcp' },
    { name: 'secure', match: { path: '/secure' }, upstream: 'https://[::1]/mcp' },
    { name: 'open', match: { path: '/open' }, upstream: 'https://open/mcp', credential: 'passthrough' },
  ],
});
const routeNamed = (name: string) => config.routes.find((route) => route.name === name);
const good = {
  config,
  route: routeNamed('github'),
  tokens: ['alice-token'],
  agentToken: undefined,
  url: 'http://127.0.0.1:8080',
  echo: undefined as string | undefined,
  isStopped: false,
};

test('lets the echo listen at the given address, or in the place of the backend', () => {
  for (const [more, echo] of [
    [{}, { kind: 'tcp', host: '127.0.0.1', port: 9000 }],
    [{ route: routeNamed('secure') }, { kind: 'tcp', host: '::1', port: 443 }],
    [{ echo: 'unix:/run/echo.sock' }, { kind: 'unix', path: '/run/echo.sock' }],
    [{ echo: '0.0.0.0:9999' }, { kind: 'tcp', host: '0.0.0.0', port: 9999 }],
  ] as const) {
    assert.deepEqual(throughOptions({ ...good, ...more }).echo, echo);
  }
});

for (const [name, more, message] of [
  ['no route', { route: undefined }, /needs --route/],
  ['no token', { tokens: [] }, /needs --route/],
  ['three tokens', { tokens: ['a', 'b', 'c'] }, /once or twice/],
  ['one token twice', { tokens: ['a', 'a'] }, /two callers/],
  ['a route with passthrough', { route: routeNamed('open') }, /"open", because it sends the caller's token/],
  ['a token of an agent without agents', { agentToken: 'a' }, /agents\.token/],
  ['a URL with a user', { url: 'http://a@b' }, /needs the URL/],
  ['another URL', { url: 'ftp://b' }, /needs the URL/],
  ['a port that is too large', { echo: 'a:99999' }, /--echo: invalid port/],
] as const) {
  test(`refuses ${name}`, () => {
    assert.throws(() => throughOptions({ ...good, ...more }), message);
  });
}
