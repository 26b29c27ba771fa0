import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { inject, uninject } from '../../../src/commands/inject.ts';
import { callCommand } from '../../harness/call-command.ts';
import { AGENT_MANIFEST as DEPLOYMENT } from '../../harness/injected-pod.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { assertSameManifests } from '../kubernetes/samples.ts';

const CONFIG_MAP = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cambist}\n';
const TAKEN = 'apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: cambist, image: x}]}\n';
const FLAGS = ['--image', 'cambist:1', '--secret', 'cambist'];
const NAMES = [...FLAGS, '--intercept', 'names'];

async function file(t: TestContext, content: string | Buffer): Promise<string> {
  const path = join(temporaryFolder(t), 'f.yaml');
  await writeFile(path, content);
  return path;
}

/** Injects a stream of standard input. */
async function injectStream(flags: readonly string[], input = DEPLOYMENT) {
  const result = await callCommand(inject, [...flags, '-'], input);
  return { ...result, documents: documentsIn(result.stdout) };
}

const uninjectStream = (input: string) => callCommand(uninject, ['-'], input);

function documentsIn(text: string) {
  return parseAllDocuments(text).map((document) => document.toJS());
}

test('moves the agent to another port, and prints the policy that closes it on standard error', async () => {
  const injected = await injectStream(['--image', 'cambist:1', '--inbound', '8080']);
  assert.equal(injected.code, 0);
  const [deployment] = injected.documents;
  assert.deepEqual(deployment.spec.template.spec.containers[0].env, [{ name: 'PORT', value: '8081' }]);
  assert.match(injected.stderr, /^cambist: every client that knows the pod's address can call the agent on port 8081/m);
  const [policy] = documentsIn(injected.stderr.slice(injected.stderr.indexOf('apiVersion')));
  assert.equal(policy.kind, 'NetworkPolicy');
  assert.deepEqual(policy.spec.podSelector, { matchLabels: { app: 'agent' } });
  assertSameManifests((await uninjectStream(injected.stdout)).stdout, DEPLOYMENT);
});

test('joins several files into one stream', async (t) => {
  const files = [await file(t, DEPLOYMENT), await file(t, CONFIG_MAP.trimEnd()), await file(t, `---\n${CONFIG_MAP}`)];
  const { code, stdout } = await callCommand(inject, [...FLAGS, ...files]);
  assert.equal(code, 0);
  const kinds = documentsIn(stdout).map(({ kind }) => kind);
  assert.deepEqual(kinds, ['Deployment', 'ConfigMap', 'ConfigMap']);
});

test('prints no manifest if one object is refused, and the reason on standard error', async () => {
  const { code, stdout, stderr } = await injectStream(FLAGS, `${DEPLOYMENT}---\n${TAKEN}`);
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /^pod\/p: refused: a container "cambist" exists and was not injected: remove or rename it$/m);
  assert.match(stderr, /^cambist: 1 of 2 objects refused: no manifest is printed$/m);
});

test('names a file that cannot be read, is not UTF-8, or is invalid YAML', async (t) => {
  for (const [content, message] of [
    ['/nowhere/f.yaml', /^cambist: \/nowhere\/f\.yaml: no such file\n$/],
    ['.', /^cambist: \.: this is a folder: name the files in it\n$/],
    [Buffer.from('a: \xe9\n', 'latin1'), /^cambist: \S+f\.yaml: is not valid UTF-8: convert it to UTF-8\n$/],
    [Buffer.from('a: [\n'), /^cambist: \S+f\.yaml:2:1: /],
  ] as const) {
    const path = typeof content === 'string' ? content : await file(t, content);
    const { code, stdout, stderr } = await callCommand(inject, [...FLAGS, path]);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, message);
  }
});

const POD_CONFIG = `version: 1
listen: 127.0.0.1:8000
admin: 0.0.0.0:9180
authorization_servers:
  main:
    issuer: https://idp.example.com
    client_id: cambist
    client_auth:
      method: client_secret_basic
      client_secret: { file: /var/run/secrets/cambist/client-secret }
limits: { max_in_flight: 500 }
routes:
  - { name: mine, match: { path: /mine }, upstream: "https://mcp.example.com/mcp" } # the backend
`;

test('with --config, prints the ConfigMap and the manifest in one stream, with the ports of the config', async (t) => {
  const flags = [...FLAGS, '--config', await file(t, POD_CONFIG)];
  const { code, stderr, documents } = await injectStream(flags);
  assert.deepEqual([code, stderr], [0, 'deployment/agent: injected\n']);
  const [configMap, deployment] = documents;
  assert.deepEqual(configMap, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'cambist', annotations: { 'cambist.dev/printed-by': 'inject' } },
    data: { 'cambist.yaml': POD_CONFIG },
  });
  assert.match(deployment.spec.template.metadata.annotations['cambist.dev/status'], /"port":8000/);
  const twice = await injectStream(flags, `${DEPLOYMENT}---\n${CONFIG_MAP}`);
  assert.equal(twice.code, 1);
  assert.match(twice.stderr, /already have a ConfigMap "cambist"/);
});

test('with --config, names every problem of the config in the pod, and prints no manifest', async (t) => {
  const config = await file(t, POD_CONFIG.replace('0.0.0.0:9180', '127.0.0.1:9180'));
  const { code, stdout, stderr } = await injectStream(['--image', 'cambist:1', '--config', config]);
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /f\.yaml:3:8: admin: the kubelet and Prometheus cannot connect/);
  assert.match(stderr, /client_secret\.file: is in a Secret, but none is mounted: name it with --secret/);
  assert.match(stderr, /deployment\/agent: refused: \S+f\.yaml has 2 problems in this pod/);
});

const INTERCEPTING = POD_CONFIG.replace('match: { path: /mine }', 'match: { host: mcp.example.com }').replace(
  'limits:',
  'intercept: { ca: { dir: /run/cambist/ca }, listen: ["127.0.0.1:443", "127.0.0.1:80"] }\nlimits:',
);

/** The document of a ConfigMap with a config. */
const mapOf = (config: string) => `${CONFIG_MAP}data:\n  cambist.yaml: |\n${config.replace(/^/gm, '    ').trimEnd()}\n`;

const OTHERS = `---\n${CONFIG_MAP.replace('cambist', 'own')}`;

for (const input of [`# c\n%YAML 1.1\n---\n${DEPLOYMENT}${OTHERS}`, `\uFEFF${DEPLOYMENT}`]) {
  test(`with --config, uninject removes the printed ConfigMap and restores a stream that begins with ${JSON.stringify(input.slice(0, 12))}`, async (t) => {
    const flags = [...NAMES, '--config', await file(t, INTERCEPTING)];
    const injected = await injectStream(flags, input);
    assert.equal(injected.code, 0, injected.stderr);
    const { hostAliases } = injected.documents[1].spec.template.spec;
    assert.deepEqual(hostAliases, [{ ip: '127.0.0.1', hostnames: ['mcp.example.com'] }]);
    const again = await injectStream(flags, injected.stdout);
    assert.equal(again.stdout, injected.stdout, 'the ConfigMap is replaced');
    const restored = await uninjectStream(injected.stdout);
    assertSameManifests(restored.stdout, input);
    assert.match(restored.stderr, /^configmap\/cambist: removed\ndeployment\/agent: restored\n/);
  });
}

test('takes the hosts and the ports from a ConfigMap of the stream that the pod mounts, and prints it once', async () => {
  const input = `${DEPLOYMENT}---\n${mapOf(INTERCEPTING)}`;
  const { code, stderr, documents } = await injectStream(NAMES, input);
  assert.equal(code, 0, stderr);
  const [deployment, ...others] = documents;
  assert.deepEqual(deployment.spec.template.spec.hostAliases[0].hostnames, ['mcp.example.com']);
  assert.match(deployment.spec.template.metadata.annotations['cambist.dev/status'], /"port":8000/);
  assert.equal(others.length, 1);
  const elsewhere = await injectStream([...NAMES, '--config-map', 'other'], input);
  assert.match(elsewhere.stderr, /names need the hosts of the routes: give --config/);
});

test('warns of a certificate authority that the ConfigMap of the stream does not have', async () => {
  const tls = 'tls: { ca: { file: /etc/cambist/ca.pem } }, match: { path: /mine }';
  const config = POD_CONFIG.replace('match: { path: /mine }', tls);
  const warnings = async (more: string) => {
    const { code, stderr } = await injectStream(FLAGS, `${DEPLOYMENT}---\n${mapOf(config)}${more}`);
    assert.equal(code, 0, stderr);
    return stderr.match(/ca\.file: .*/g);
  };
  assert.deepEqual(await warnings(''), ['ca.file: is not in the ConfigMap yet: add it there as the key "ca.pem"']);
  for (const part of ['  ca.pem: x', 'binaryData: { ca.pem: eA== }']) assert.equal(await warnings(`${part}\n`), null);
});

test('refuses a ConfigMap of the stream without intercept, and says which lines to add', async () => {
  const { code, stdout, stderr } = await injectStream(NAMES, `${mapOf(POD_CONFIG)}---\n${DEPLOYMENT}`);
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(
    stderr,
    /^ConfigMap cambist, cambist\.yaml:1:1: the config has no intercept, .*: add intercept: \{ ca: /m,
  );
  assert.match(stderr, /deployment\/agent: refused: ConfigMap cambist, cambist\.yaml has a problem in this pod/);
});

test('says that hosts of no route need forward_proxy.connect, unless the config has it', async (t) => {
  const connect = 'forward_proxy: { connect: ["*.openai.com:443"] }\nlimits:';
  for (const [config, isNoted] of [
    [INTERCEPTING, true],
    [INTERCEPTING.replace('limits:', connect), false],
  ] as const) {
    const flags = [...FLAGS, '--intercept', 'proxy', '--config', await file(t, config)];
    const { code, stderr } = await injectStream(flags);
    assert.deepEqual([code, stderr.includes('need an entry in forward_proxy.connect')], [0, isNoted], stderr);
  }
});
