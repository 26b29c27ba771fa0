import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { fencedBlocks } from '../harness/markdown.ts';
import { BUILT_PROGRAM, runProgram } from '../harness/run-command.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { respond } from '../harness/upstream-handlers.ts';

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
  const authorizationServer = await startFakeAuthorizationServer();
  t.after(authorizationServer.close);
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  const upstream = await startFakeUpstream(respond(401, '', { 'www-authenticate': 'Bearer' }));
  t.after(upstream.close);

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
