import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkListener } from '../../../src/doctor/check-own-parts.ts';
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

async function check(t: TestContext, { cert = good.cert, key = good.key, ca }: Files, aheadMs = 0): Promise<Finding> {
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
  return checkListener(tls, 'listen', Date.now() + aheadMs);
}

test('states the names of the certificate, and its dates', async (t) => {
  const { severity, what } = await check(t, { cert: good.cert + authority.cert, ca: authority.cert });
  assert.equal(severity, 'ok');
  assert.match(what, /is for DNS:gateway\.agents\.svc; it is valid from .+ until .+$/);
});

test('warns when less than a tenth of the lifetime is left', async (t) => {
  const { severity, code } = await check(t, {}, 28 * 24 * 3600 * 1000);
  assert.deepEqual([severity, code], ['warning', 'listener_certificate']);
});

const other = authority.issueServer();
const expired = authority.issueServer({ validFromSeconds: -200, validUntilSeconds: -100 });
const INVALID: [what: string, files: Files, code: string, says: RegExp][] = [
  ['a certificate that is not PEM', { cert: 'x' }, 'listener_files_invalid', /listen\.tls\.certificate is not/],
  ['a key that is not PEM', { key: 'x' }, 'listener_files_invalid', /listen\.tls\.private_key is not/],
  ['the key of another certificate', { key: other.key }, 'listener_files_invalid', /does not belong to/],
  ['an empty file', { cert: '' }, 'credential_unavailable', /certificate of listen: file ".*" is empty/],
  ['an expired certificate', expired, 'certificate_expired', /until/],
  [
    'a certificate that is not valid yet',
    authority.issueServer({ validFromSeconds: 100 }),
    'certificate_not_yet_valid',
    /it is valid from/,
  ],
  ['a client CA without a certificate', { ca: 'x' }, 'listener_files_invalid', /client_ca has no certificate/],
  [
    'an expired client CA',
    { ca: expired.cert },
    'certificate_expired',
    /a certificate in listen\.tls\.client_ca expired on/,
  ],
];
for (const [what, files, code, says] of INVALID) {
  test(`reports ${what}`, async (t) => {
    const invalid = await check(t, files);
    assert.deepEqual([invalid.severity, invalid.code], ['error', code]);
    assert.match(invalid.what, says);
    assert.ok(invalid.fix);
  });
}
