import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createIdentify } from '../../../src/identity/identify.ts';

test('finds the agent by a sub that is text', () => {
  const issuer = 'https://idp.example.com';
  const identify = createIdentify({ verifier: { verify: () => undefined }, clock: systemClock });
  const agents = {
    token: [{ header: 'x-agent-token', issuer, audience: ['cambist'] }],
    known: [
      { name: 'batch', subject: 'batch' },
      { name: 'unnamed', subject: 'undefined' },
    ],
  };
  const found = (sub: unknown): unknown => {
    const payload = Buffer.from(JSON.stringify({ iss: issuer, sub })).toString('base64url');
    return identify(agents as never, {} as never, () => [`e30.${payload}.c2ln`]);
  };
  assert.equal((found('batch') as { readonly name: string }).name, 'batch');
  for (const sub of [['batch'], undefined]) assert.throws(() => found(sub), /its token has no sub/);
});
