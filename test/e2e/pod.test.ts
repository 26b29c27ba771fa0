import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import { deferred, eventually, soon } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type FakeSetup, type FakeSetupParts, startFakeSetup } from '../harness/fake-setup.ts';
import { eventStream, respond, startFakeUpstream } from '../harness/fake-upstream.ts';
import { freePort } from '../harness/http-server.ts';
import { type InjectedContainer, injectPod, preStop, probe, startedUp } from '../harness/injected-pod.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { fencedBlocks } from '../harness/pages.ts';
import { BUILT_PROGRAM, runProgram } from '../harness/run-command.ts';

/** Injects a pod with these flags. `start` runs cambist at the ports of the pod. */
async function startPod(
  t: TestContext,
  flags: readonly string[],
  prepare?: (parts: Omit<FakeSetupParts, 'directory'>) => void,
) {
  const [port, adminPort] = [await freePort(), await freePort()];
  const spec = await injectPod([...flags, '--port', String(port), '--admin-port', String(adminPort)]);
  const addresses = { listen: `127.0.0.1:${port}`, admin: `127.0.0.1:${adminPort}` };
  const start = async (): Promise<FakeSetup> => {
    const setup = await startFakeSetup(t, {
      ready: false,
      ...(prepare === undefined ? {} : { prepare }),
      change: (config) => ({ ...config, ...addresses }),
    });
    return setup;
  };
  return { spec, start };
}

const DOWN = ({ authorizationServer }: Omit<FakeSetupParts, 'directory'>) => authorizationServer.close();

test('the agent beside a native sidecar starts once cambist is ready, and can call it until the agent exits', async (t) => {
  const { spec, start } = await startPod(t, [], DOWN);
  const [sidecar] = spec.initContainers as [InjectedContainer];
  assert.deepEqual([sidecar.name, sidecar.restartPolicy], ['cambist', 'Always']);
  assert.deepEqual(
    spec.containers.map(({ name }) => name),
    ['agent'],
  );
  const setup = await start();
  let agentMayStart = false;
  const started = startedUp(sidecar).then(() => {
    agentMayStart = true;
  });
  await setup.cambist.waitForLog(({ msg }) => msg === 'not ready');
  assert.equal(await probe(sidecar, sidecar.livenessProbe), true, 'the kubelet does not restart it meanwhile');
  assert.equal(await probe(sidecar, sidecar.readinessProbe), false);
  assert.equal(agentMayStart, false);
  const _back = await startFakeAuthorizationServer(t, { port: setup.authorizationServer.port });
  await soon('the agent may start', started, 15_000);
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200, "the agent's first call");
  // The kubelet sends no signal to a native sidecar before the agent has exited.
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200, "the agent's last call");
  assert.equal(sidecar.lifecycle, undefined);
  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await soon('cambist exits', setup.cambist.exit), { code: 0, signal: null });
});

test('a classic sidecar serves the agent while both shut down, and exits within the grace period', async (t) => {
  const { spec, start } = await startPod(t, ['--sidecar', 'classic', '--termination-grace-period', '35s']);
  const [agent, sidecar] = spec.containers as [InjectedContainer, InjectedContainer];
  assert.deepEqual([agent.name, sidecar.name, spec.initContainers], ['agent', 'cambist', undefined]);
  assert.equal(sidecar.lifecycle?.preStop.exec.command[0], 'node', 'the image has no other program');
  const setup = await start();
  await startedUp(sidecar);
  let hookIsDone = false;
  const hook = preStop(sidecar).then((code) => {
    hookIsDone = true;
    return code;
  });
  await delay(500);
  assert.equal(
    (await setup.call({ headers: await setup.bearer() })).status,
    200,
    'a call of the agent while it shuts down',
  );
  assert.equal(await probe(sidecar, sidecar.readinessProbe), true);
  assert.equal(hookIsDone, false);
  assert.equal(await hook, 0);
  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await soon('cambist exits', setup.cambist.exit), { code: 0, signal: null });
});

test('on SIGTERM with a stream and a request in flight, is not ready and lets both finish', async (t) => {
  const { spec, start } = await startPod(t, []);
  const [sidecar] = spec.initContainers as [InjectedContainer];
  const setup = await start();
  await startedUp(sidecar);
  const headers = await setup.bearer();
  const stream = eventStream();
  setup.upstream.handler = stream.handler;
  const events = await setup.open({ method: 'GET', headers });
  let heard = '';
  events.on('data', (chunk) => {
    heard += chunk;
  });
  const { promise: held, resolve: release } = deferred<void>();
  setup.upstream.handler = async (request, response) => {
    await held;
    await respond(200, 'late but whole')(request, response);
  };
  const pending = setup.call({ headers });
  await eventually('both requests reach the upstream', () => setup.upstream.requests.length === 2);

  setup.cambist.signal('SIGTERM');
  await setup.cambist.waitForLog(({ msg }) => msg === 'cambist is shutting down');
  assert.equal(await probe(sidecar, sidecar.readinessProbe), false);
  assert.equal(await probe(sidecar, sidecar.livenessProbe), true);
  stream.emit('still here');
  await eventually('the stream continues', () => heard.includes('data: still here'));
  await setup.cambist.waitForLog(({ msg }) => String(msg).startsWith('draining requests in flight'));
  assert.equal((await setup.call({ headers })).status, 503);
  release();
  assert.equal((await pending).text, 'late but whole');
  assert.equal(await probe(sidecar, sidecar.livenessProbe), true, 'it stays alive for the stream');
  stream.end();
  assert.deepEqual(await soon('cambist exits', setup.cambist.exit), { code: 0, signal: null });
});

/** Stands in for kubectl: keeps the Secret and the manifests, and runs a command of the pod with both. */
const KUBECTL = `
const { execFileSync } = require('node:child_process');
const { cpSync, mkdirSync, readFileSync, writeFileSync } = require('node:fs');
const { parseAllDocuments } = require(process.env.YAML);
const [n, namespace, verb, ...rest] = process.argv.slice(2);
if (n !== '-n' || namespace !== 'agents') throw new Error('wrong namespace');
const line = [verb, ...rest].join(' ');
if (line === 'create secret generic cambist --from-file=client-secret') {
  mkdirSync('secret');
  cpSync('client-secret', 'secret/client-secret');
} else if (line === 'apply -f -') {
  writeFileSync('applied.yaml', readFileSync(0));
} else if (line.startsWith('exec deployment/agent -c cambist -- node /app/dist/main.js ')) {
  const objects = parseAllDocuments(readFileSync('applied.yaml', 'utf8')).map((document) => document.toJS());
  const { template } = objects.find(({ kind }) => kind === 'Deployment').spec;
  const volume = (name) => template.spec.volumes.find((one) => one.name === name);
  const configMap = objects.find(
    ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === volume('cambist-config').configMap.name,
  );
  if (volume('cambist-secret').secret.secretName !== 'cambist') throw new Error('the Secret is not mounted');
  const text = configMap.data['cambist.yaml'].replaceAll('/var/run/secrets/cambist', process.cwd() + '/secret');
  writeFileSync('mounted.yaml', text);
  const args = line.slice(line.indexOf('main.js ') + 8).split(' ');
  const env = { ...process.env, CAMBIST_CONFIG: 'mounted.yaml' };
  execFileSync(process.execPath, [process.env.BUILT_PROGRAM, ...args], { env, stdio: 'inherit' });
} else {
  throw new Error('unexpected: ' + line);
}
`;

const AGENT = `apiVersion: apps/v1
kind: Deployment
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec: { containers: [{ name: agent, image: "agent:1" }] }
`;

test('the five commands at the top of the sidecar page lead to a pod whose doctor finds no problem', async (t) => {
  const folder = temporaryFolder(t);
  const authorizationServer = await startFakeAuthorizationServer(t);
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  const upstream = await startFakeUpstream(t, respond(401, '', { 'www-authenticate': 'Bearer' }));

  const page = await readFile('deploy/sidecar.md', 'utf8');
  const [first = ''] = fencedBlocks(page, 'sh');
  const commands = first.trim().split('\n');
  assert.equal(commands.length, 5);

  const bin = join(folder, 'bin');
  await mkdir(bin);
  const yaml = import.meta.resolve('yaml').replace('file://', '');
  const env = {
    PATH: [bin, process.env.PATH].join(delimiter),
    BUILT_PROGRAM,
    YAML: yaml,
  };
  await writeFile(join(bin, 'kubectl.cjs'), KUBECTL);
  for (const [name, line] of Object.entries({
    // The image itself is built and run by the tests of the image.
    docker: 'echo "$@" >>docker.log',
    kubectl: `exec "${process.execPath}" "${join(bin, 'kubectl.cjs')}" "$@"`,
    cambist: `exec "${process.execPath}" "${BUILT_PROGRAM}" "$@"`,
  })) {
    await writeFile(join(bin, name), `#!/bin/sh\n${line}\n`);
    await chmod(join(bin, name), 0o755);
  }
  await writeFile(join(folder, 'client-secret'), 'a-secret\n');
  await writeFile(join(folder, 'agent.yaml'), AGENT);

  const outputs: string[] = [];
  for (const command of commands) {
    const local = command
      .replace('https://idp.example.com/realms/agents', authorizationServer.issuer)
      .replace('https://github-mcp.example.com/mcp', `${upstream.url}/mcp`);
    const result = await runProgram('bash', ['-euo', 'pipefail', '-c', local], { env, cwd: folder });
    assert.equal(result.code, 0, `${local}\n${result.stdout}${result.stderr}`);
    outputs.push(result.stdout);
  }

  const image = 'registry.example.com/cambist:0.1.0';
  assert.equal(await readFile(join(folder, 'docker.log'), 'utf8'), `build -t ${image} .\npush ${image}\n`);
  const applied = parseAllDocuments(await readFile(join(folder, 'applied.yaml'), 'utf8'));
  assert.deepEqual(
    applied.map((document) => document.get('kind')),
    ['ConfigMap', 'Deployment'],
  );
  const doctor = outputs.at(-1) ?? '';
  assert.match(doctor, /client "cambist" \(client_secret_basic\) is accepted/);
  assert.match(doctor, /no problem found/);
  const [request] = authorizationServer.requests;
  assert.equal(request?.headers.authorization, `Basic ${Buffer.from('cambist:a-secret').toString('base64')}`);
});
