import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkListener } from '../../../src/doctor/check-listener.ts';
import type { Finding } from '../../../src/doctor/finding.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const authority = createCertificateAuthority('Agents CA');
const good = authority.issueServer({ hosts: ['gateway.agents.svc'], validUntilSeconds: 30 * 24 * 3600 });

interface Files {
  cert?: string;
  key?: string;
  /** Content of the file of `client_ca`. */
  ca?: string;
}

async function check(t: TestContext, { cert = good.cert, key = good.key, ca }: Files, aheadMs = 0): Promise<Finding[]> {
  const folder = temporaryFolder(t);
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const tls = {
    certificate: write('tls.crt', cert),
    privateKey: write('tls.key', key),
    clientCa: ca === undefined ? undefined : write('ca.crt', ca),
    clientCertificate: undefined,
  };
  const findings: Finding[] = [];
  await checkListener(tls, 'listen', Date.now() + aheadMs, (finding) => findings.push(finding));
  return findings;
}

test('states the names of the certificate, the days that are left, and the issuers of client certificates', async (t) => {
  const [own, clients] = await check(t, { cert: good.cert + authority.cert, ca: authority.cert });
  assert.equal(own?.severity, 'ok');
  assert.match(own?.what ?? '', /is for DNS:gateway\.agents\.svc; it is valid until .+, for 29 days$/);
  assert.equal(clients?.what, 'certificates of clients must be issued by "CN=Agents CA"');
});

test('warns when less than a tenth of the lifetime is left', async (t) => {
  const [late] = await check(t, {}, 28 * 24 * 3600 * 1000);
  assert.equal(late?.severity, 'warning');
  assert.match(late?.what ?? '', /for 47 hours$/);
});

const other = authority.issueServer();
const INVALID: [what: string, files: Files, code: string, says: RegExp][] = [
  ['a certificate that is not PEM', { cert: 'x' }, 'listener_files_invalid', /listen\.tls\.certificate is not/],
  ['a key that is not PEM', { key: 'x' }, 'listener_files_invalid', /listen\.tls\.private_key is not/],
  ['the key of another certificate', { key: other.key }, 'listener_files_invalid', /does not belong to/],
  ['an empty file', { cert: '' }, 'credential_unavailable', /certificate of listen: file ".*" is empty/],
  [
    'an expired certificate',
    authority.issueServer({ validFromSeconds: -200, validUntilSeconds: -100 }),
    'certificate_expired',
    /expired on/,
  ],
  [
    'a certificate that is not valid yet',
    authority.issueServer({ validFromSeconds: 100 }),
    'certificate_not_yet_valid',
    /is not valid before/,
  ],
  ['a client CA without a certificate', { ca: 'x' }, 'client_ca_invalid', /it has no certificate/],
  ['a client CA that cannot issue', { ca: good.cert }, 'client_ca_invalid', /is not a certificate authority/],
];
for (const [what, files, code, says] of INVALID) {
  test(`reports ${what}`, async (t) => {
    const findings = await check(t, files);
    const invalid = findings.find(({ severity }) => severity === 'error');
    assert.equal(invalid?.code, code);
    assert.match(`${invalid?.what} ${invalid?.why}`, says);
    assert.ok(invalid?.fix);
  });
}
