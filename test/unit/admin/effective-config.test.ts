import assert from 'node:assert/strict';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { test } from 'node:test';
import { parse } from 'yaml';
import { configJson, configYaml } from '../../../src/admin/effective-config.ts';
import { hideKeys } from '../../../src/admin/hide-keys.ts';
import { words } from '../../harness/words.ts';
import { configOf } from '../config/sample.ts';

const SERVER = {
  token_endpoint: 'https://idp.example.com/token',
  client_id: 'c',
  client_auth: { method: 'client_secret_basic', client_secret: { file: '/dev/null' } },
};

function routeOf(name: string, keys: object) {
  return { name, match: { path: `/${name}` }, upstream: 'https://mcp.example.com/mcp', ...keys };
}

test('shows the file as it was written, without comments', async () => {
  const text =
    'version: 1\n# a comment\nroutes:\n  - name: a\n    match:\n      path: /\n    upstream: http://a.svc\n    credential: none\n';
  const config = configOf(text);
  assert.equal(await configYaml(config), text.replace('# a comment\n', ''));
  assert.deepEqual(JSON.parse(await configJson(config)), parse(text));
});

for (const url of words(`
  https://github-mcp.example.com/mcp http://docs-mcp:8080
  https://mcp.example.com/v1/organizations/tools-for-agents-2026/mcp
  https://api.githubcopilot.com/mcp/x/pull_requests/readonly api://0d3fa3f2-0000-4000-8000-000000000000/.default
  urn:example:github github
`)) {
  test(`shows ${url}`, () => {
    assert.equal(hideKeys(url), url);
  });
}

test('hides the query', () => {
  assert.equal(hideKeys('https://mcp.example.com/mcp?key=a'), 'https://mcp.example.com/mcp?[hidden]');
});

for (const key of words(`
  0d3fa3f2-1c2d-4b5a-9d3e-2f1a0b9c8d7e OTE1YzE5MjgtNTI3MC00YmQ4 sk_live_4eC39HqLyjWDarjtT1zdp7dc
  9f86d081884c7d659a2feaa0c55ad015 a%2Fb0123456789abcdef0
`)) {
  test(`hides the key ${key} in a path`, () => {
    assert.equal(hideKeys(`https://mcp.example.com/api/${key}/mcp`), 'https://mcp.example.com/api/[hidden]/mcp');
  });
}

test('looks at one file after the other, also for several pages', async (t) => {
  const { access } = promises;
  let looking = 0;
  const atOnce: number[] = [];
  t.after(syncBuiltinESMExports);
  t.mock.method(promises, 'access', (...args: Parameters<typeof access>) => {
    looking += 1;
    atOnce.push(looking);
    return access(...args).finally(() => {
      looking -= 1;
    });
  });
  syncBuiltinESMExports();
  const routes = [routeOf('a', { tls: { ca: { file: '/dev/null' } } }), routeOf('b', { credential: 'none' })];
  const config = configOf(JSON.stringify({ version: 1, authorization_servers: { main: SERVER }, routes }));
  await Promise.all([configYaml(config), configJson(config)]);
  assert.deepEqual(atOnce, [1, 1, 1, 1]);
});
