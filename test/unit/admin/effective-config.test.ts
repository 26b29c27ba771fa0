import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { createEffectiveConfig } from '../../../src/admin/effective-config.ts';
import { configOf } from '../config/sample.ts';

const SECRET = 's3cretPathSegment0123456789';

function serverOf(keys: object) {
  return {
    token_endpoint: 'https://idp.example.com/token',
    client_id: 'c',
    client_auth: { method: 'client_secret_basic', client_secret: { file: '/dev/null' } },
    ...keys,
  };
}

function routeOf(name: string, keys: object) {
  return { name, match: { path: `/${name}` }, upstream: 'https://mcp.example.com/mcp', ...keys };
}

test('shows the file as it was written, without comments', async () => {
  const text =
    'version: 1\n# a comment\nroutes:\n  - name: a\n    match:\n      path: /\n    upstream: http://a.svc\n    credential: none\n';
  const shown = createEffectiveConfig(() => configOf(text));
  assert.equal(await shown.yaml(), text.replace('# a comment\n', ''));
  assert.deepEqual(JSON.parse(await shown.json()), parse(text));
});

test('hides parameters, queries and parts of paths that could be a secret, wherever they are', async () => {
  const url = `https://x.example.com/api/${SECRET}/mcp`;
  const withQuery = `${url}?key=${SECRET}`;
  const verify = {
    issuer: 'https://i.example.com',
    jwks_uri: withQuery,
    introspection: { authorization_server: 'main', endpoint: withQuery },
  };
  const config = configOf(
    JSON.stringify({
      version: 1,
      authorization_servers: { main: serverOf({ token_endpoint: withQuery, extra_params: { api_key: SECRET } }) },
      signals: {
        transmitters: {
          idp: {
            issuer: 'https://i.example.com',
            audience: 'cambist',
            delivery: 'poll',
            authorization: { file: SECRET },
            jwks_uri: withQuery,
            poll_endpoint: withQuery,
          },
        },
      },
      defaults: { resource: url, actor_token: { file: SECRET } },
      routes: [
        routeOf('a', { upstream: url, audience: [withQuery], expect_audience: { only: withQuery } }),
        routeOf('b', { subject_token: { verify } }),
        routeOf('c', { subject_token: { file: `/run/${SECRET}` }, tls: { ca: { file: SECRET } } }),
        routeOf('d', { credential: 'secret', secret: { file: SECRET } }),
      ],
    }),
  );
  const shown = createEffectiveConfig(() => config);
  const text = await shown.yaml();
  assert.ok(!text.includes(SECRET), text);
  assert.deepEqual(parse(text), JSON.parse(await shown.json()));
  assert.match(text, /upstream: https:\/\/x\.example\.com\/api\/\[hidden\]\/mcp\n/);
  assert.match(text, /token_endpoint: https:\/\/x\.example\.com\/api\/\[hidden\]\/mcp\?\[hidden\]\n/);
  assert.match(text, /client_secret:\n +file: \/dev\/null\n/);
});
