import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkUnseenRevocations } from '../../../src/doctor/check-transmitter.ts';
import type { Finding } from '../../../src/doctor/finding.ts';
import { configOf } from '../../harness/app.ts';

test('warns of routes that serve the disabled users of a Keycloak', () => {
  const issuer = 'https://idp.example.com/realms/agents';
  const { signals, routes } = configOf({
    authorization_servers: { keycloak: { issuer, client_id: 'c', client_auth: { method: 'none' } } },
    signals: {
      listen: '127.0.0.1:8190',
      transmitters: { keycloak: { issuer, audience: 'c', backchannel_logout: true } },
    },
    routes: [{ name: 'tools', match: { path: '/' }, upstream: 'http://127.0.0.1:9', allow_insecure_http: true }],
  });
  const [transmitter] = signals?.transmitters ?? [];
  assert.ok(transmitter);
  const found: Finding[] = [];
  checkUnseenRevocations(transmitter, routes, (finding) => found.push(finding));
  checkUnseenRevocations({ ...transmitter, issuer: 'https://other.example.com' }, routes, (finding) =>
    found.push(finding),
  );
  assert.deepEqual(
    found.map(({ severity, code }) => `${severity} ${code}`),
    ['warning users_not_signalled'],
  );
  assert.match(found[0]?.what ?? '', /"tools" serve disabled and deleted users/);
});
