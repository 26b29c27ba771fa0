import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkListener } from '../../../src/doctor/check-own-parts.ts';
import { fileOf, findTrustFolder, whyNotTrusted } from '../../../src/doctor/check-trust.ts';
import type { Finding } from '../../../src/doctor/finding.ts';
import { openInterceptAuthority } from '../../../src/intercept/authority.ts';
import { writeCertificates, writeVariables } from '../../../src/intercept/write-trust-folder.ts';
import { configOf } from '../../harness/app.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';

const authority = createCertificateAuthority('Agents CA');
const good = authority.issueServer({ hosts: ['gateway.agents.svc'], validUntilSeconds: 30 * 24 * 3600 });

interface Files {
  cert?: string;
  key?: string;
  /** Content of the file of `client_ca`. */
  ca?: string;
}

async function check(t: TestContext, { cert = good.cert, key = good.key, ca }: Files, aheadMs = 0): Promise<Finding> {
  const write = writerInto(temporaryFolder(t));
  const tls = {
    certificate: write('tls.crt', cert).file,
    privateKey: write('tls.key', key).file,
    clientCa: ca === undefined ? undefined : write('ca.crt', ca).file,
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
  ['an expired client CA', { ca: expired.cert }, 'certificate_expired', /in listen\.tls\.client_ca expired on/],
];
for (const [what, files, code, says] of INVALID) {
  test(`reports ${what}`, async (t) => {
    const invalid = await check(t, files);
    assert.deepEqual([invalid.severity, invalid.code], ['error', code]);
    assert.match(invalid.what, says);
    assert.ok(invalid.fix);
  });
}

const VARIABLES = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'CURL_CA_BUNDLE', 'JAVA_TOOL_OPTIONS'];

function configWith(intercept: object | undefined) {
  const routes = [{ name: 'r', match: { host: 'r.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' }];
  return configOf({ routes, ...(intercept && { intercept }) });
}

/** A folder as cambist writes it, with its authority in a folder of its own. */
async function startWritten(t: TestContext, name = 'trust') {
  const [dir, trustDir] = [temporaryFolder(t), join(temporaryFolder(t), name)];
  await mkdir(trustDir);
  const config = configWith({ ca: { dir }, trust_dir: trustDir });
  const authority = await openInterceptAuthority({ kind: 'dir', dir }, ['r.example.com']);
  await writeCertificates(trustDir, authority.cert, {}, () => {});
  await writeVariables(trustDir, 'http://127.0.0.1:8180');
  return { dir, trustDir, find: () => findTrustFolder(config) };
}

test('finds a folder which every client would trust, also where the key is unavailable', async (t) => {
  const { dir, trustDir, find } = await startWritten(t);
  for (const hasKey of [true, false]) {
    if (!hasKey) await rm(join(dir, 'authority.pem'));
    const { folder, finding } = await find();
    assert.equal(finding.code, 'trust_folder_read');
    assert.ok(folder !== undefined);
    for (const variable of VARIABLES) assert.equal(await whyNotTrusted(variable, folder), undefined, variable);
    assert.equal(fileOf('JAVA_TOOL_OPTIONS', folder), join(trustDir, 'truststore.p12'));
  }
  assert.deepEqual(await readFile(join(dir, 'authority.pem')).catch(() => 'none'), 'none', 'and none is made');
});

test('reports an authority that is another one, expired, not valid yet, or no authority', async (t) => {
  const { trustDir, find } = await startWritten(t);
  const whyOf = async (pem: string) => {
    await writeFile(join(trustDir, 'ca.pem'), pem);
    const { finding } = await find();
    return finding.code === 'trust_folder_broken' ? finding.why : undefined;
  };
  const own = await readFile(join(trustDir, 'ca.pem'), 'utf8');
  const other = createCertificateAuthority('another');
  assert.match((await whyOf(other.cert)) ?? '', /another one than that of intercept\.ca/);
  assert.match((await whyOf(other.issueServer().cert)) ?? '', /not that of a certificate authority/);
  assert.equal(await whyOf(own), undefined);
  const [now, decade] = [Date.now(), 10 * 365 * 24 * 3_600_000];
  t.mock.timers.enable({ apis: ['Date'], now: now + 10 * decade });
  assert.match((await whyOf(own)) ?? '', /expired on/);
  t.mock.timers.setTime(now - decade);
  assert.match((await whyOf(own)) ?? '', /not valid before/);
});

test('says what a client would miss', async (t) => {
  const { trustDir, find } = await startWritten(t);
  const without = async (file: string, content: string) => {
    await writeFile(join(trustDir, file), content);
    const { folder } = await find();
    assert.ok(folder !== undefined);
    return Promise.all(VARIABLES.map((variable) => whyNotTrusted(variable, folder)));
  };
  const [node, ssl, curl, java] = await without('bundle.pem', createCertificateAuthority('another').cert);
  assert.deepEqual([node, java], [undefined, undefined]);
  for (const reason of [ssl, curl]) assert.match(reason ?? '', /names ".*bundle\.pem", which lacks the authority/);
  const [, , , broken = ''] = await without('truststore.p12', 'x');
  assert.match(broken, /JAVA_TOOL_OPTIONS names ".*", which lacks the authority/);
  const missing = await without('env', "NODE_EXTRA_CA_CERTS='/nowhere/ca.pem'\n");
  assert.match(missing[0] ?? '', /NODE_EXTRA_CA_CERTS names "\/nowhere\/ca\.pem", which cannot be read/);
  assert.match(missing[1] ?? '', /do not set SSL_CERT_FILE/);
});

test('reads paths with spaces and quotes', async (t) => {
  for (const name of ["cambist 'trust ", 'cambist trust ']) {
    const { trustDir, find } = await startWritten(t, name);
    const { folder } = await find();
    assert.ok(folder !== undefined);
    assert.equal(folder.variables.SSL_CERT_FILE, join(trustDir, 'bundle.pem'));
    assert.equal(await whyNotTrusted('SSL_CERT_FILE', folder), undefined);
    if (!name.includes("'")) assert.equal(fileOf('JAVA_TOOL_OPTIONS', folder), join(trustDir, 'truststore.p12'));
  }
});

test('says where the config has no folder, or the folder is not written', async (t) => {
  const none = { trust_dir: join(temporaryFolder(t), 'none') };
  for (const intercept of [undefined, none]) {
    const { folder, finding } = await findTrustFolder(configWith(intercept));
    const severity = intercept === undefined ? 'ok' : 'warning';
    assert.deepEqual([folder, finding.code, finding.severity], [undefined, 'trust_folder_missing', severity]);
  }
});
