import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createSecureContext } from 'node:tls';
import { fromBER, type Sequence } from 'asn1js';
import { parseConfig } from '../../../src/config/load.ts';
import { agentEnvironment } from '../../../src/intercept/agent-environment.ts';
import { encodeTruststore, writeCertificates, writeVariables } from '../../../src/intercept/write-trust-folder.ts';
import { splitCertificates } from '../../../src/listeners/tls.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const ours = createCertificateAuthority('ours').cert;
const corporate = createCertificateAuthority('corporate').cert;

test('writes the authority alone, and with the roots of the system', async (t) => {
  const dir = temporaryFolder(t);
  await writeCertificates(dir, ours, {}, assert.fail);
  assert.equal(await readFile(join(dir, 'ca.pem'), 'utf8'), ours);
  const bundle = splitCertificates(await readFile(join(dir, 'bundle.pem'), 'utf8'));
  assert.ok(bundle.length > 50);
  assert.equal(bundle.at(-1), ours.trim());
  createSecureContext({ ca: bundle });
  assert.deepEqual((await readdir(dir)).sort(), ['bundle.pem', 'ca.pem', 'truststore.p12']);
  assert.equal((await stat(join(dir, 'bundle.pem'))).mode & 0o444, 0o444);
});

test('keeps the roots that the variables of the machine name, and skips what is not a certificate', async (t) => {
  const dir = temporaryFolder(t);
  const file = join(dir, 'corporate.pem');
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----';
  await writeFile(file, `# corporate\r\n${broken}\r\n${corporate.replaceAll('\n', '\r\n')}`);
  const trust = join(dir, 'trust');
  await writeCertificates(trust, ours, { SSL_CERT_FILE: file, NODE_EXTRA_CA_CERTS: file }, assert.fail);
  assert.equal(await readFile(join(trust, 'bundle.pem'), 'utf8'), corporate + ours);
  const unusable: string[] = [];
  const variables = { NODE_EXTRA_CA_CERTS: file, SSL_CERT_FILE: join(dir, 'missing') };
  await writeCertificates(trust, ours, variables, (variable) => void unusable.push(variable));
  assert.deepEqual(unusable, ['SSL_CERT_FILE']);
  const bundle = splitCertificates(await readFile(join(trust, 'bundle.pem'), 'utf8'));
  assert.ok(bundle.length > 50 && bundle.includes(corporate.trim()));
});

test('leaves no temporary file behind when a file cannot be replaced', async (t) => {
  const dir = temporaryFolder(t);
  await mkdir(join(dir, 'ca.pem'));
  await assert.rejects(writeCertificates(dir, ours, {}, assert.fail), /intercept\.trust_dir: cannot write .*ca\.pem/);
  assert.deepEqual(await readdir(dir), ['ca.pem']);
});

test('writes variables that a shell reads unchanged, whatever the path contains', async (t) => {
  const dir = join(temporaryFolder(t), "cambist's trust");
  await writeVariables(dir, 'http://127.0.0.1:8180');
  const script = `set -a; . ./env; exec ${process.execPath} -p 'JSON.stringify(process.env)'`;
  const env = JSON.parse(execFileSync('sh', ['-c', script], { cwd: dir, env: {} }).toString());
  assert.equal(env.HTTPS_PROXY, 'http://127.0.0.1:8180');
  assert.equal(env.https_proxy, 'http://127.0.0.1:8180');
  assert.equal(env.NO_PROXY, 'localhost,127.0.0.1,::1');
  assert.equal(env.NODE_USE_ENV_PROXY, '1');
  assert.equal(env.NODE_EXTRA_CA_CERTS, join(dir, 'ca.pem'));
  assert.equal(env.SSL_CERT_FILE, join(dir, 'bundle.pem'));
  assert.match(env.JAVA_TOOL_OPTIONS, /-Djavax\.net\.ssl\.trustStore=.*truststore\.p12/);
  assert.match(env.JAVA_TOOL_OPTIONS, /-Dhttps\.proxyHost=127\.0\.0\.1 -Dhttps\.proxyPort=8180/);
});

test('names no proxy that has no URL', async (t) => {
  const dir = temporaryFolder(t);
  await writeVariables(dir, undefined);
  const env = await readFile(join(dir, 'env'), 'utf8');
  assert.ok(!/proxy/i.test(env));
  assert.match(env, /^SSL_CERT_FILE='/m);
});

test("encodes a trust store with Oracle's attribute and an own name for each certificate", () => {
  const encoded = encodeTruststore([ours, corporate]);
  const { result, offset } = fromBER(encoded);
  assert.equal(offset, encoded.length);
  assert.equal((result as Sequence).valueBlock.value.length, 2, 'no MAC');
  const trustedKeyUsage = Buffer.from('060c6086480186f966adca7b0101', 'hex');
  assert.equal(encoded.toString('latin1').split(trustedKeyUsage.toString('latin1')).length, 3);
  // A BMPString of 32 characters.
  const header = Buffer.from('1e40', 'hex');
  const names = [ours, corporate].map((pem) => {
    const { raw } = new X509Certificate(pem);
    const start = encoded.indexOf(header, encoded.indexOf(raw) + raw.length) + header.length;
    return encoded
      .subarray(start, start + 64)
      .toString('latin1')
      .replaceAll('\0', '');
  });
  for (const name of names) assert.match(name, /^[0-9a-f]{32}$/);
  assert.notEqual(names[0], names[1]);
});

const { config } = parseConfig(
  `version: 1
authorization_servers:
  main:
    token_endpoint: https://idp.example.com/token
    client_id: cambist
    client_auth: { method: client_secret_post, client_secret: { env: CAMBIST_SECRET } }
routes:
  - { name: mcp, match: { host: mcp.example.com }, upstream: "https://mcp.example.com" }
`,
  'cambist.yaml',
);
assert.ok(config);
const environmentOf = (own: Readonly<Record<string, string>>) =>
  agentEnvironment(own, config, '/trust', 'http://127.0.0.1:1');

test('a variable of a single client gets the bundle if it is set, and is not set otherwise', () => {
  const { PIP_CERT, npm_config_cafile, HTTPLIB2_CA_CERTS, HOME } = environmentOf({
    PIP_CERT: '/own.pem',
    npm_config_cafile: '/own.pem',
    HOME: '/root',
  });
  assert.deepEqual(
    [PIP_CERT, npm_config_cafile, HTTPLIB2_CA_CERTS],
    ['/trust/bundle.pem', '/trust/bundle.pem', undefined],
  );
  assert.equal(HOME, '/root');
});

test('options of Java stay, and secrets of cambist are removed', () => {
  const environment = environmentOf({ JAVA_TOOL_OPTIONS: '-Xmx1g', CAMBIST_SECRET: 'x' });
  assert.match(environment.JAVA_TOOL_OPTIONS ?? '', /^-Xmx1g -Djavax\.net\.ssl\.trustStore=\/trust\/truststore\.p12 /);
  assert.equal('CAMBIST_SECRET' in environment, false);
});
