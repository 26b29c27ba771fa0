import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { AGENT_MANIFEST as DEPLOYMENT } from '../harness/injected-pod.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { runCommand } from '../harness/run-command.ts';
import { assertSameManifests } from '../unit/kubernetes/samples.ts';

const CONFIG_MAP = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cambist}\n';
const TAKEN = 'apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: cambist, image: x}]}\n';
const BYPASS =
  "only HTTP_PROXY is set: calls to https URLs bypass cambist, with the caller's own token; Node.js without NODE_USE_ENV_PROXY=1, Java, aiohttp and Go clients with a transport of their own ignore it";
const FLAGS = ['--image', 'registry.example.com/cambist:0.1.0', '--secret', 'cambist', '--proxy-env'];

async function file(t: TestContext, content: string | Buffer): Promise<string> {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'f.yaml'), content);
  return join(folder, 'f.yaml');
}

test('moves the agent to another port, and prints the policy that closes it on standard error', async () => {
  const flags = [...FLAGS.slice(0, 2), '--inbound', '8080'];
  const injected = await runCommand(['inject', ...flags, '-'], { input: DEPLOYMENT });
  assert.equal(injected.code, 0);
  const [deployment] = parseAllDocuments(injected.stdout).map((document) => document.toJS());
  assert.deepEqual(deployment.spec.template.spec.containers[0].env, [{ name: 'PORT', value: '8081' }]);
  assert.match(injected.stderr, /^cambist: every client that knows the pod's address can call the agent on port 8081/m);
  const [policy] = parseAllDocuments(injected.stderr.slice(injected.stderr.indexOf('apiVersion'))).map((one) =>
    one.toJS(),
  );
  assert.equal(policy.kind, 'NetworkPolicy');
  assert.deepEqual(policy.spec.podSelector, { matchLabels: { app: 'agent' } });
  const back = await runCommand(['uninject', '-'], { input: injected.stdout });
  assertSameManifests(back.stdout, DEPLOYMENT);
});

test('injects and uninjects from standard input, with a line for each object on standard error', async () => {
  const stream = `${DEPLOYMENT}---\n${CONFIG_MAP}`;
  const injected = await runCommand(['inject', ...FLAGS, '-'], { input: stream });
  assert.equal(injected.code, 0);
  assert.equal(
    injected.stderr,
    `deployment/agent: injected: ${BYPASS}\nconfigmap/cambist: skipped: a ConfigMap has no pod\n`,
  );
  const [deployment] = parseAllDocuments(injected.stdout).map((document) => document.toJS());
  assert.equal(deployment.spec.template.spec.initContainers[0].image, 'registry.example.com/cambist:0.1.0');
  const again = await runCommand(['inject', ...FLAGS, '-'], { input: injected.stdout });
  assert.equal(again.stdout, injected.stdout);
  const back = await runCommand(['uninject', '-'], { input: injected.stdout });
  assert.equal(back.code, 0);
  assertSameManifests(back.stdout, stream);
});

test('joins several files into one stream', async (t) => {
  const files = [await file(t, DEPLOYMENT), await file(t, CONFIG_MAP.trimEnd()), await file(t, `---\n${CONFIG_MAP}`)];
  const { code, stdout } = await runCommand(['inject', ...FLAGS, ...files]);
  assert.equal(code, 0);
  assert.deepEqual(
    parseAllDocuments(stdout).map((document) => document.get('kind')),
    ['Deployment', 'ConfigMap', 'ConfigMap'],
  );
});

test('prints no manifest if one object is refused, and the reason on standard error', async () => {
  const { code, stdout, stderr } = await runCommand(['inject', ...FLAGS, '-'], { input: `${DEPLOYMENT}---\n${TAKEN}` });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^pod\/p: refused: a container "cambist" exists and was not injected: remove or rename it$/m);
  assert.match(stderr, /^cambist: 1 of 2 objects refused: no manifest is printed$/m);
});

test('refuses an invalid option, and names its flag', async () => {
  const { code, stderr } = await runCommand(['inject', '--image', 'i', '--port', 'x', '-'], { input: DEPLOYMENT });
  assert.equal(code, 1);
  assert.match(stderr, /deployment\/agent: refused: --port is "x": must be a port from 1 to 65535/);
});

test('names a file that cannot be read, is not UTF-8, or is invalid YAML', async (t) => {
  const missing = await runCommand(['inject', ...FLAGS, '/nowhere/f.yaml']);
  assert.deepEqual([missing.code, missing.stdout], [1, '']);
  assert.equal(missing.stderr, 'cambist: /nowhere/f.yaml: no such file\n');
  const folder = await runCommand(['inject', ...FLAGS, '.']);
  assert.deepEqual([folder.code, folder.stderr], [1, 'cambist: .: this is a folder: name the files in it\n']);
  const latin = await runCommand(['inject', ...FLAGS, await file(t, Buffer.from('a: \xe9\n', 'latin1'))]);
  assert.deepEqual([latin.code, latin.stdout], [1, '']);
  assert.match(latin.stderr, /^cambist: \S+f\.yaml: is not valid UTF-8: convert it to UTF-8\n$/);
  const wrong = await runCommand(['uninject', '-'], { input: 'a: [\n' });
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /^cambist: standard input:2:1: /);
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
  const config = await file(t, POD_CONFIG);
  const args = ['inject', '--image', 'cambist:1', '--secret', 'cambist', '--config', config, '-'];
  const { code, stdout, stderr } = await runCommand(args, { input: DEPLOYMENT });
  assert.deepEqual([code, stderr], [0, 'deployment/agent: injected\n']);
  const [configMap, deployment] = parseAllDocuments(stdout).map((document) => document.toJS());
  assert.deepEqual(configMap, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'cambist', annotations: { 'cambist.dev/printed-by': 'inject' } },
    data: { 'cambist.yaml': POD_CONFIG },
  });
  assert.match(deployment.spec.template.metadata.annotations['cambist.dev/status'], /"port":8000/);
});

test('with --config, names every problem of the config in the pod, and prints no manifest', async (t) => {
  const config = await file(t, POD_CONFIG.replace('0.0.0.0:9180', '127.0.0.1:9180'));
  const args = ['inject', '--image', 'cambist:1', '--config', config, '-'];
  const { code, stdout, stderr } = await runCommand(args, { input: DEPLOYMENT });
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /f\.yaml:3:8: admin: the kubelet and Prometheus cannot connect/);
  assert.match(stderr, /client_secret\.file: is in a Secret, but none is mounted: name it with --secret/);
  assert.match(stderr, /deployment\/agent: refused: \S+f\.yaml has 2 problems in this pod/);
});

const INTERCEPTING = POD_CONFIG.replace('match: { path: /mine }', 'match: { host: mcp.example.com }').replace(
  'limits:',
  'intercept: { ca: { dir: /run/cambist/ca }, listen: ["127.0.0.1:443", "127.0.0.1:80"] }\nlimits:',
);
const NAMES = ['--image', 'cambist:1', '--secret', 'cambist', '--intercept', 'names'];

/** The document of a ConfigMap with a config. */
const mapOf = (config: string) => `${CONFIG_MAP}data:\n  cambist.yaml: |\n${config.replace(/^/gm, '    ').trimEnd()}\n`;

test('takes the hosts of an interception from --config, and uninject restores the manifest', async (t) => {
  const args = ['inject', ...NAMES, '--config', await file(t, INTERCEPTING), '-'];
  const { code, stdout, stderr } = await runCommand(args, { input: DEPLOYMENT });
  assert.deepEqual([code, stderr], [0, 'deployment/agent: injected\n']);
  const [, deployment] = parseAllDocuments(stdout).map((document) => document.toJS());
  const { hostAliases, containers } = deployment.spec.template.spec;
  assert.deepEqual(hostAliases, [{ ip: '127.0.0.1', hostnames: ['mcp.example.com'] }]);
  assert.equal(containers[0].volumeMounts[0].mountPath, '/run/cambist/trust');
});

for (const [what, input] of Object.entries({
  'a stream': DEPLOYMENT,
  'a stream that begins with a marker': `---\n${DEPLOYMENT}---\n${CONFIG_MAP.replace('cambist', 'own')}`,
  'a stream that begins with a comment and a directive': `# c\n%YAML 1.1\n---\n${DEPLOYMENT}`,
  'a stream that begins with a byte order mark': `\uFEFF${DEPLOYMENT}`,
})) {
  test(`with --config, uninject removes the printed ConfigMap and restores ${what}`, async (t) => {
    const args = ['inject', ...NAMES, '--config', await file(t, INTERCEPTING), '-'];
    const injected = await runCommand(args, { input });
    assert.equal(injected.code, 0, injected.stderr);
    const again = await runCommand(args, { input: injected.stdout });
    assert.equal(again.stdout, injected.stdout, 'the ConfigMap is replaced');
    const restored = await runCommand(['uninject', '-'], { input: injected.stdout });
    assertSameManifests(restored.stdout, input);
    assert.match(restored.stderr, /^configmap\/cambist: removed\ndeployment\/agent: restored\n/);
  });
}

test('takes the hosts and the ports from a ConfigMap of the stream that the pod mounts, and prints it once', async () => {
  const input = `${DEPLOYMENT}---\n${mapOf(INTERCEPTING)}`;
  const { code, stdout, stderr } = await runCommand(['inject', ...NAMES, '-'], { input });
  assert.equal(code, 0, stderr);
  const [deployment, ...others] = parseAllDocuments(stdout).map((document) => document.toJS());
  assert.deepEqual(deployment.spec.template.spec.hostAliases[0].hostnames, ['mcp.example.com']);
  assert.match(deployment.spec.template.metadata.annotations['cambist.dev/status'], /"port":8000/);
  assert.equal(others.length, 1);
  const elsewhere = await runCommand(['inject', ...NAMES, '--config-map', 'other', '-'], { input });
  assert.match(elsewhere.stderr, /names need the hosts of the routes: give --config/);
});

test('warns of a certificate authority that the ConfigMap of the stream does not have', async () => {
  const config = POD_CONFIG.replace(
    'match: { path: /mine }',
    'tls: { ca: { file: /etc/cambist/ca.pem } }, match: { path: /mine }',
  );
  const warnings = async (more: string) => {
    const input = `${DEPLOYMENT}---\n${mapOf(config)}${more}`;
    const { code, stderr } = await runCommand(['inject', ...NAMES.slice(0, 4), '-'], { input });
    assert.equal(code, 0, stderr);
    return stderr.match(/ca\.file: .*/g);
  };
  assert.deepEqual(await warnings(''), ['ca.file: is not in the ConfigMap yet: add it there as the key "ca.pem"']);
  for (const part of ['  ca.pem: x', 'binaryData: { ca.pem: eA== }']) assert.equal(await warnings(`${part}\n`), null);
});

test('refuses a ConfigMap of the stream without intercept, and says which lines to add', async () => {
  const input = `${mapOf(POD_CONFIG)}---\n${DEPLOYMENT}`;
  const { code, stdout, stderr } = await runCommand(['inject', ...NAMES, '-'], { input });
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(
    stderr,
    /^ConfigMap cambist, cambist\.yaml:1:1: the config has no intercept, but .*: add intercept: \{ ca: /m,
  );
  assert.match(stderr, /deployment\/agent: refused: ConfigMap cambist, cambist\.yaml has a problem in this pod/);
});

test('says that hosts of no route need forward_proxy.connect, unless the config has it', async (t) => {
  const connect = 'forward_proxy: { connect: ["*.openai.com:443"] }\nlimits:';
  for (const [config, isNoted] of [
    [INTERCEPTING, true],
    [INTERCEPTING.replace('limits:', connect), false],
  ] as const) {
    const args = ['inject', ...NAMES.slice(0, -1), 'proxy', '--config', await file(t, config), '-'];
    const { code, stderr } = await runCommand(args, { input: DEPLOYMENT });
    assert.deepEqual([code, stderr.includes('need an entry in forward_proxy.connect')], [0, isNoted], stderr);
  }
});

test('with --config, refuses a stream that has the ConfigMap already', async (t) => {
  const config = await file(t, POD_CONFIG);
  const args = ['inject', '--image', 'cambist:1', '--secret', 'cambist', '--config', config, '-'];
  const { code, stderr } = await runCommand(args, { input: `${DEPLOYMENT}---\n${CONFIG_MAP}` });
  assert.equal(code, 1);
  assert.match(stderr, /already have a ConfigMap "cambist"/);
});
