import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readForwardedId } from '../../../src/identity/forwarded.ts';

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
