import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createIdentify, readForwardedId } from '../../../src/identity/identify.ts';

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

const ID = 'spiffe://example.org/ns/team-b/sa/support';

test('reads the URI of one forwarded certificate', () => {
  for (const line of [
    `URI=${ID}`,
    `uri=${ID}`,
    `By=spiffe://example.org/gateway;Hash=468e;URI=${ID};DNS=a.example.org;DNS=b.example.org`,
    `Hash=1;Subject="CN=a,O=\\"b;URI=x\\"";URI="${ID}"`,
    `By=;Cert="-----BEGIN%20CERTIFICATE-----%0A";URI=${ID};`,
  ]) {
    assert.equal(readForwardedId([line]), ID, line);
  }
});

test('refuses a header that does not name exactly one workload', () => {
  for (const lines of [
    [''],
    ['Hash=1'],
    [`URI=${ID}`, `URI=${ID}`],
    [`URI=${ID},By=x;URI=${ID}`],
    [`URI=${ID},`],
    [`URI=${ID};URI=${ID}/other`],
    [`URI=${ID};Subject="open`],
    [`URI=${ID};Subject="closed"more`],
    [`URI= ${ID}`],
    ['URI=spiffe://example.org'],
    ['URI=https://example.org/a'],
    [ID],
    [`URI=${ID};Cert=${'a'.repeat(20_000)}`],
  ]) {
    assert.equal(readForwardedId(lines), undefined, lines.join(' and '));
  }
});
