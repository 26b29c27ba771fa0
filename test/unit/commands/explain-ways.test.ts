import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainSharing } from '../../../src/commands/explain-token-request.ts';
import { waysIn, whyNoWay } from '../../../src/commands/explain-ways.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { configOf } from '../config/sample.ts';

const route = (match: string) => `routes: [{ name: r, match: ${match}, upstream: "http://x.svc", credential: none }]\n`;
const plain = configOf(`version: 1\n${route('{ host: mcp.example.com }')}`);
const intercepted = configOf(`version: 1\nintercept: {}\nlisten: 0.0.0.0:8180\n${route('{ host: mcp.example.com }')}`);
const onSocket = configOf(`version: 1\nintercept: {}\nlisten: unix:/run/c.sock\n${route('{ host: mcp.example.com }')}`);

const namesOf = (config: typeof plain, url: string) => waysIn(config, url).map(({ way }) => way);

test('a path is called by the URL of cambist', () => {
  assert.deepEqual(waysIn(plain, '/mcp'), [{ way: 'base_url', how: 'the agent calls http://127.0.0.1:8180' }]);
});

test('an http URL is called by base URL or HTTP_PROXY', () => {
  assert.deepEqual(waysIn(plain, 'http://127.0.0.1:8180/mcp'), [
    { way: 'base_url', how: 'the agent connects to http://127.0.0.1:8180' },
    { way: 'proxy', how: 'HTTP_PROXY=http://127.0.0.1:8180' },
  ]);
  assert.match(waysIn(plain, 'http://mcp.example.com/')[0]?.how ?? '', / and sends this Host$/);
  assert.deepEqual(namesOf(onSocket, 'http://mcp.example.com/'), ['base_url']);
  assert.equal(whyNoWay(plain, 'http://mcp.example.com/'), undefined);
});

test('an https URL needs intercept, or exec', () => {
  assert.deepEqual(namesOf(intercepted, 'https://MCP.example.com:443/x'), ['proxy', 'exec']);
  assert.match(
    waysIn(intercepted, 'https://mcp.example.com/')[0]?.how ?? '',
    /^HTTPS_PROXY=http:\/\/127\.0\.0\.1:8180, /,
  );
  assert.equal(whyNoWay(intercepted, 'https://mcp.example.com/'), undefined);
  assert.deepEqual(namesOf(plain, 'https://mcp.example.com/'), ['exec']);
  assert.match(whyNoWay(plain, 'https://mcp.example.com/') ?? '', /has no intercept/);
  assert.match(whyNoWay(onSocket, 'https://mcp.example.com/') ?? '', /Unix socket/);
});

test('an https URL is called by base URL where listen has TLS', () => {
  const tls = 'tls: { certificate: { file: /c }, private_key: { file: /k } }';
  const secure = configOf(
    `version: 1\nlisten: { address: "0.0.0.0:8443", ${tls} }\n${route('{ host: mcp.example.com }')}`,
  );
  assert.deepEqual(waysIn(secure, 'https://mcp.example.com/')[0], {
    way: 'base_url',
    how: 'the agent connects to https://127.0.0.1:8443 and sends this Host',
  });
  assert.deepEqual(namesOf(secure, 'https://elsewhere.example.com/'), ['base_url']);
  assert.equal(whyNoWay(secure, 'https://elsewhere.example.com/'), undefined);
  assert.deepEqual(waysIn(secure, 'http://mcp.example.com/'), [
    { way: 'proxy', how: 'HTTP_PROXY=https://127.0.0.1:8443' },
  ]);
});

test('an https URL of no match.host cannot arrive', () => {
  const byPath = configOf(`version: 1\n${route('{ path: / }')}`);
  assert.deepEqual(namesOf(byPath, 'https://mcp.example.com/'), []);
  assert.match(whyNoWay(byPath, 'https://mcp.example.com/') ?? '', /no match\.host names this host/);
});

test('a routed host can be led to intercept.listen by its name or by packets', () => {
  const listening = configOf(
    `version: 1\nintercept: { listen: ["127.0.0.1:443", "[::1]:443"] }\n${route('{ host: mcp.example.com }')}`,
  );
  assert.deepEqual(namesOf(listening, 'https://mcp.example.com/'), ['proxy', 'names', 'packets', 'exec']);
  assert.deepEqual(waysIn(listening, 'https://mcp.example.com/').slice(1, 3), [
    { way: 'names', how: 'hostAliases point the host at 127.0.0.1' },
    { way: 'packets', how: 'port 443 is redirected to 127.0.0.1:443 or [::1]:443' },
  ]);
  assert.deepEqual(namesOf(listening, 'http://mcp.example.com/'), ['base_url', 'proxy', 'packets']);
  assert.deepEqual(namesOf(listening, 'https://elsewhere.example.com/'), []);
});

const SHARED = { shared: { url: 'redis://127.0.0.1', key: { file: '/key' } } };

function sharing(server: Record<string, unknown>, route: Record<string, unknown>, cache: object = SHARED) {
  const { config } = parseConfig(
    JSON.stringify({
      version: 1,
      cache,
      authorization_servers: { main: { token_endpoint: 'https://idp.example.com/token', client_id: 'c', ...server } },
      routes: [{ name: 'a', match: { path: '/' }, upstream: 'https://a.example.com', audience: 'a', ...route }],
    }),
    'test.yaml',
  );
  const [first] = config?.routes ?? [];
  assert.ok(config && first);
  return explainSharing(first, config);
}

test('says under which secret a token is shared, or why it is not', () => {
  const open = { client_auth: { method: 'none' } };
  const secret = { client_auth: { method: 'client_secret_post', client_secret: { file: '/secret' } } };
  const own = { credential: 'client_credentials' };
  assert.equal(sharing(open, {}), "shared with other replicas, sealed under the caller's token");
  assert.match(sharing({ ...open, dpop: true }, {}) ?? '', /^not shared .*bound to a key/);
  assert.equal(sharing(secret, own), 'shared with other replicas, sealed under the credential of its client');
  assert.match(sharing(open, own) ?? '', /^not shared .*no lasting credential/);
  assert.equal(sharing(open, {}, {}), undefined);
  assert.equal(sharing(open, { credential: 'none', audience: undefined }), undefined);
});
