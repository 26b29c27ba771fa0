import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { type Certificate, createCertificateAuthority, listenerTls } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { startGateway } from '../../harness/gateway.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { runProgram } from '../../harness/run-command.ts';
import { installMtlsClient } from '../installs.ts';

const BILLING = 'spiffe://example.org/ns/team-a/sa/billing';
const SUPPORT = 'spiffe://example.org/ns/team-b/sa/support';

const authority = createCertificateAuthority();
const stranger = createCertificateAuthority('another CA');

/** A gateway that knows its agents by their certificates, and the files of both sides. */
async function start(t: TestContext) {
  const folder = temporaryFolder(t);
  const file = (name: string): string => join(folder, name);
  const write = (name: string, { cert, key }: Certificate): string => {
    writeFileSync(file(`${name}.key`), key);
    writeFileSync(file(`${name}.crt`), cert);
    return new X509Certificate(cert).fingerprint256.replaceAll(':', '').toLowerCase();
  };
  const actAs = (id: string, issuer = authority) => write('client', issuer.issueClient({ hosts: [id] }));
  writeFileSync(file('ca.pem'), authority.cert);
  const own = authority.issueServer();
  const tls = listenerTls(folder, authority, own);
  const fingerprint = write('tls', own);
  actAs(BILLING);
  const known = { billing: { spiffe_id: BILLING }, support: { spiffe_id: SUPPORT } };
  const gateway = await startGateway(t, {
    route: { agents: ['billing'] },
    top: { listen: { address: '127.0.0.1:0', tls }, agents: { certificate: true, known } },
  });
  /** Replaces the certificate of cambist. @returns its fingerprint */
  const rotate = (): string => {
    const next = write('tls', authority.issueServer());
    gateway.app.reopenFiles();
    return next;
  };
  const env = { URL: `${gateway.app.url}/github`, FOLDER: folder, AUTHORIZATION: gateway.authorization };
  return { ...gateway, fingerprint, actAs, rotate, env, file };
}

interface Sent {
  readonly status?: number;
  readonly version?: string;
  readonly port?: number;
  readonly fingerprint?: string;
  readonly error?: string;
}

/** Starts a client, which sends a request for each line that it reads. */
function startClient(t: TestContext, [command = '', ...args]: readonly string[], env: Record<string, string>) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async (line: 'new' | 'kept'): Promise<Sent> => {
    child.stdin.write(`${line}\n`);
    const { value } = await lines.next();
    return JSON.parse(String(value)) as Sent;
  };
}

const program = (name: string): string => join(import.meta.dirname, name);

const clients: readonly (readonly [name: string, command: () => Promise<readonly string[]>])[] = [
  ['Node', async () => [process.execPath, program('client.mjs')]],
  ['Python', async () => ['python3', program('client.py')]],
  ['Go', async () => [await installMtlsClient()]],
];
for (const [name, command] of clients) {
  test(`serves a client in ${name}, whose connection outlives the certificates of both sides`, async (t) => {
    const { env, fingerprint, rotate, actAs, upstream } = await start(t);
    const send = startClient(t, await command(), env);
    const first = await send('new');
    assert.deepEqual([first.status, first.version, first.fingerprint], [200, 'HTTP/1.1', fingerprint]);

    const next = rotate();
    actAs(BILLING);
    await eventually('the new certificate', async () => {
      assert.deepEqual(await send('kept'), first);
      const { status, fingerprint } = await startClient(t, await command(), env)('new');
      assert.equal(status, 200);
      return fingerprint === next;
    });
    const second = await send('new');
    assert.deepEqual([second.status, second.fingerprint], [200, next]);
    assert.notEqual(second.port, first.port);
    assert.deepEqual(await send('kept'), second);

    actAs(SUPPORT);
    assert.deepEqual(await send('kept'), second);
    assert.equal((await send('new')).status, 403);
    const { length } = upstream.requests;
    actAs(BILLING, stranger);
    assert.equal(typeof (await send('new')).error, 'string');
    assert.equal(upstream.requests.length, length);
  });
}

test('serves curl, which keeps its connection and gets the new certificate on the next one', async (t) => {
  const { env, rotate, actAs, file } = await start(t);
  const curl = (...more: readonly string[]) => {
    const own = ['--cacert', file('ca.pem'), '--cert', file('client.crt'), '--key', file('client.key')];
    const call = ['-o', '/dev/null', env.URL];
    const shown = ['-w', '%{http_code} %{http_version} %{num_connects}\n', '-H', `Authorization: ${env.AUTHORIZATION}`];
    return runProgram('curl', ['-sS', '--http2', ...own, ...shown, ...call, ...call, ...more]);
  };
  assert.equal((await curl()).stdout, '200 1.1 1\n200 1.1 0\n');
  for (const version of ['1.2', '1.3']) {
    const { stdout } = await curl(`--tlsv${version}`, '--tls-max', version);
    assert.equal(stdout, '200 1.1 1\n200 1.1 0\n', version);
  }
  const { code } = await curl('--tls-max', '1.1');
  assert.notEqual(code, 0);

  const next = rotate();
  const shownBy = async () => {
    const { port } = new URL(env.URL);
    const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-cert', file('client.crt'), '-key', file('client.key')];
    const { stdout } = await runProgram('openssl', args, { input: '' });
    const [pem = ''] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(stdout) ?? [];
    return new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();
  };
  await eventually('the new certificate', async () => (await shownBy()) === next);
  actAs(SUPPORT);
  assert.match((await curl()).stdout, /^403 1.1 1\n403 1.1 \d\n$/);
  actAs(BILLING, stranger);
  assert.notEqual((await curl()).code, 0);
});
