import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNoAgent } from '../../../src/proxy/sender.ts';
import { toSubject } from '../../../src/tokens/subject.ts';

test('an introspection that leaves out the issuer makes no caller of an agent', () => {
  const payload = Buffer.from(JSON.stringify({ iss: 'https://idp.example.com', aud: 'cambist' })).toString('base64url');
  const subject = { ...toSubject(`e30.${payload}.c2ln`), introspected: { sub: 'batch' } };
  const agents = { token: [{ issuer: 'https://idp.example.com', audience: ['cambist'] }] };
  const routed = { request: { active: { config: { agents } } }, route: { credential: { kind: 'exchange' } } };
  assert.throws(
    () => assertNoAgent(routed as never, { subject, withheldTokens: [], rawHeaders: [] }),
    /one of an agent/,
  );
});
