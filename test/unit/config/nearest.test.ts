import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearest } from '../../../src/config/nearest.ts';

const KEYS = ['upstream', 'match', 'name', 'scope', 'resource', 'timeouts', 'authorization_server'];

test('finds the name behind a typing error', () => {
  const cases: [string, string | undefined][] = [
    ['upsteam', 'upstream'],
    ['Upstream', 'upstream'],
    ['up-stream', 'upstream'],
    ['scpoe', 'scope'],
    ['resources', 'resource'],
    ['timeout', 'timeouts'],
    ['authorization-server', 'authorization_server'],
    ['nmae', 'name'],
    ['verify', undefined],
    ['', undefined],
    ['x'.repeat(1000), undefined],
  ];
  for (const [written, meant] of cases) assert.equal(nearest(written, KEYS), meant, written);
});

test('suggests nothing for a common prefix of several names', () => {
  const methods = ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt'];
  assert.equal(nearest('client_secret', methods), undefined);
  assert.equal(nearest('private_key', methods), 'private_key_jwt');
});

test('suggests nothing if no names are known', () => {
  assert.equal(nearest('upstream', []), undefined);
});
