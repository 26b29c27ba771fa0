import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainSharing } from '../../../src/commands/explain-token-request.ts';
import { parseConfig } from '../../../src/config/load.ts';

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
