import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hideKeys } from '../../../src/admin/hide-keys.ts';

for (const url of [
  'https://github-mcp.example.com/mcp',
  'http://docs-mcp:8080',
  'https://mcp.example.com/v1/organizations/tools-for-agents-2026/mcp',
  'https://api.githubcopilot.com/mcp/x/pull_requests/readonly',
  'api://0d3fa3f2-0000-4000-8000-000000000000/.default',
  'urn:example:github',
  'github',
]) {
  test(`shows ${url}`, () => {
    assert.equal(hideKeys(url), url);
  });
}

for (const key of [
  '0d3fa3f2-1c2d-4b5a-9d3e-2f1a0b9c8d7e',
  'OTE1YzE5MjgtNTI3MC00YmQ4',
  'sk_live_4eC39HqLyjWDarjtT1zdp7dc',
  '9f86d081884c7d659a2feaa0c55ad015',
  'a%2Fb0123456789abcdef0',
]) {
  test(`hides the key ${key} in a path`, () => {
    assert.equal(hideKeys(`https://mcp.example.com/api/${key}/mcp`), 'https://mcp.example.com/api/[hidden]/mcp');
  });
}

test('hides the query', () => {
  assert.equal(hideKeys('https://mcp.example.com/mcp?key=a'), 'https://mcp.example.com/mcp?[hidden]');
});
