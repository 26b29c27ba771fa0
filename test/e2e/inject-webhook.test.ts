import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Secret } from 'kubernetes-types/core/v1.js';
import { parse, parseAllDocuments } from 'yaml';
import { genCerts } from '../../src/commands/gen-certs.ts';
import { webhook } from '../../src/commands/webhook.ts';
import { callCommand } from '../harness/call-command.ts';
import { recordOutput } from '../harness/cambist-process.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { callWebhook, OPTED_IN, podReview } from '../harness/injected-pod.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { readLoaded, SCHEMA_COMPILERS } from '../harness/loaded-modules.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const CONFIGURATION = 'deploy/webhook/base/mutatingwebhook.yaml';

async function startWebhook(t: TestContext, flags: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const folder = temporaryFolder(t);
  const authority = createCertificateAuthority();
  const { cert, key } = authority.issueServer();
  await writeFile(join(folder, 'tls.crt'), cert);
  await writeFile(join(folder, 'tls.key'), key);
  const files = ['--cert', join(folder, 'tls.crt'), '--key', join(folder, 'tls.key')];
  const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const child = spawn(process.execPath, [BUILT_PROGRAM, 'webhook', ...files, ...addresses, ...flags], {
    stdio: 'pipe',
    env: { ...process.env, ...env },
  });
  const ended = once(child, 'close') as Promise<[number | null]>;
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const output = recordOutput(child);
  const { listen, admin } = await output.waitForLog(({ msg }) => msg === 'cambist webhook is listening', 10_000);
  const url = `${listen}/mutate`;
  return {
    ...output,
    admin: String(admin),
    ended,
    stop: () => child.kill('SIGTERM'),
    call: () => callWebhook({ url, ca: authority.cert, body: podReview(OPTED_IN) }),
  };
}

test('injects over HTTPS as its flags say, without the schema compilers of Fastify, and after SIGTERM serves until it has drained', async (t) => {
  const coverage = temporaryFolder(t);
  const flags = ['--image', 'r/cambist:1', '--intercept', 'proxy', '--drain', '1s'];
  const running = await startWebhook(t, flags, { NODE_V8_COVERAGE: coverage });
  assert.equal((await fetch(`${running.admin}/readyz`)).status, 200);
  const { response } = JSON.parse((await running.call()).body);
  const patch = Buffer.from(response.patch, 'base64').toString();
  assert.match(patch, /r\/cambist:1/);
  assert.match(patch, /"HTTPS_PROXY","value":"http:\/\/127\.0\.0\.1:8180"/);
  assert.match(await (await fetch(`${running.admin}/metrics`)).text(), /requests_total\{result="injected"\} 1/);
  running.stop();
  await running.waitForLog(({ msg }) => msg === 'cambist webhook is shutting down');
  await eventually('the webhook is not ready', async () => (await fetch(`${running.admin}/readyz`)).status === 503);
  assert.equal((await running.call()).status, 200);
  assert.deepEqual(await running.ended, [0, null]);
  assert.equal(running.stderr(), '');
  const { packages } = await readLoaded(coverage);
  assert.ok(packages.has('fastify'));
  for (const name of SCHEMA_COMPILERS) assert.ok(!packages.has(name), name);
});

test('prints the reason when the webhook cannot start', async (t) => {
  const folder = temporaryFolder(t);
  const good = createCertificateAuthority().issueServer();
  await writeFile(join(folder, 'tls.crt'), good.cert);
  await writeFile(join(folder, 'tls.key'), createCertificateAuthority().issueServer().key);
  const pair = ['--cert', join(folder, 'tls.crt'), '--key', join(folder, 'tls.key')];
  const cases: [string[], number, RegExp][] = [
    [[], 2, /--cert and --key are required/],
    [
      ['--cert', '/nowhere/c', '--key', '/nowhere/k'],
      1,
      /file "\/nowhere\/[ck]" cannot be read: mount it and make it readable/,
    ],
    [pair, 1, /does not belong to certificate/],
    [[...pair, '--listen', 'x'], 2, /--listen must be host:port/],
    [[...pair, '--drain', 'x'], 2, /--drain is "x": must be a duration/],
    [[...pair, '--intercept', 'packets'], 2, /--redirect-image is missing: set it to the image cambist-redirect/],
  ];
  for (const [flags, code, message] of cases) {
    const result = await callCommand(webhook, flags);
    assert.equal(result.code, code, flags.join(' '));
    assert.match(result.stderr, message);
  }
});

interface Generated {
  readonly caBundle: string;
  readonly secret: Readonly<Record<string, string>>;
}

function generated(text: string): Generated {
  const documents = parseAllDocuments(text).map((document) => document.toJS());
  const configuration = documents.find(({ kind }) => kind === 'MutatingWebhookConfiguration');
  const secret = documents.find(({ kind }) => kind === 'Secret');
  assert.deepEqual(
    [secret.type, secret.metadata.name, secret.metadata.namespace],
    ['kubernetes.io/tls', 'cambist-webhook', 'cambist-system'],
  );
  const caBundle = Buffer.from(configuration.webhooks[0].clientConfig.caBundle, 'base64').toString();
  return { caBundle, secret: secret.stringData };
}

test('gen-certs fills in caBundle, changes nothing else, and adds the Secret that the pods mount', async () => {
  const { code, stdout } = await callCommand(genCerts, [CONFIGURATION]);
  assert.equal(code, 0);
  const { caBundle, secret } = generated(stdout);
  assert.equal(caBundle, secret['ca.crt']);
  const server = new X509Certificate(secret['tls.crt'] ?? '');
  assert.ok(server.verify(new X509Certificate(caBundle).publicKey));
  assert.ok(server.checkHost('cambist-webhook.cambist-system.svc'));
  const [configuration = ''] = stdout.split(/^---$/m);
  assert.equal(
    configuration.replace(/^ *caBundle: .*\n/m, '').trimEnd(),
    (await readFile(CONFIGURATION, 'utf8')).trimEnd(),
  );
});

test('gen-certs without a file prints only the Secret, for the chart', async () => {
  const { code, stdout, stderr } = await callCommand(genCerts, ['--namespace', 'elsewhere']);
  assert.deepEqual([code, stderr], [0, '']);
  const secret = parse(stdout) as Secret;
  assert.deepEqual(
    [secret.kind, secret.metadata?.name, secret.metadata?.namespace],
    ['Secret', 'cambist-webhook', 'elsewhere'],
  );
  const server = new X509Certificate(secret.stringData?.['tls.crt'] ?? '');
  assert.ok(server.verify(new X509Certificate(secret.stringData?.['ca.crt'] ?? '').publicKey));
  assert.ok(server.checkHost('cambist-webhook.elsewhere.svc'));
});

test('the certificate of gen-certs is valid for the given days, and tolerates a clock that is slow', async () => {
  const { stdout } = await callCommand(genCerts, ['--days', '30']);
  const { stringData = {} } = parse(stdout) as Secret;
  for (const name of ['tls.crt', 'ca.crt']) {
    const { validFrom, validTo } = new X509Certificate(stringData[name] ?? '');
    assert.equal(Math.round((Date.parse(validTo) - Date.parse(validFrom)) / 60_000), 30 * 24 * 60 + 5, name);
    assert.ok(Date.parse(validFrom) < Date.now() - 4 * 60_000, name);
  }
});

test('gen-certs --trust keeps the old certificate trusted beside the new one', async (t) => {
  const old = generated((await callCommand(genCerts, [CONFIGURATION])).stdout);
  const file = join(temporaryFolder(t), 'ca.crt');
  await writeFile(file, old.secret['ca.crt'] ?? '');
  const renewed = generated((await callCommand(genCerts, ['--trust', file, CONFIGURATION])).stdout);
  assert.equal(renewed.caBundle, `${renewed.secret['ca.crt']}${old.secret['ca.crt']}`);
  assert.notEqual(renewed.secret['tls.crt'], old.secret['tls.crt']);
});

test('gen-certs refuses invalid arguments and files', async () => {
  const cases: [string[], number, RegExp][] = [
    [['--service', 'other', CONFIGURATION], 1, /no webhook calls service "other" in namespace "cambist-system"/],
    [['--trust', '/nowhere', CONFIGURATION], 1, /\/nowhere: not a readable certificate in PEM/],
    [['--days', '0', CONFIGURATION], 2, /--days must be a number from 1 to 3650/],
    [['--namespace', 'A', CONFIGURATION], 2, /--namespace is "A": must be the name of a Kubernetes object/],
  ];
  for (const [args, code, message] of cases) {
    const result = await callCommand(genCerts, args);
    assert.equal(result.code, code, args.join(' '));
    assert.equal(result.stdout, '');
    assert.match(result.stderr, message);
  }
});
