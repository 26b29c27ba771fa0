import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { SDK_V1 } from '../../harness/agent-client.ts';
import { startCambist } from '../../harness/cambist-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { startFakeSetup } from '../../harness/fake-setup.ts';
import { floodPod, POD_MEMORY_BYTES } from '../../harness/flood.ts';
import { startMcpSetup } from '../../harness/mcp-setup.ts';
import { startOtlpReceiver } from '../../harness/otlp-receiver.ts';
import { IMAGE, imageConfig, inContainer, LIMITS, pidOf, podman, RESTRICTED } from './podman.ts';

const MIB = 1024 * 1024;

const POD = `apiVersion: v1
kind: Pod
metadata: { name: agent }
spec:
  containers:
    - { name: agent, image: agent:1 }
`;

test('exchanges, reloads and exits with 0 without root, capabilities or write access', async (t) => {
  const { name, launch } = inContainer(POD_MEMORY_BYTES);
  const setup = await startMcpSetup(t, { launch });
  const status = await readFile(`/proc/${await pidOf(name)}/status`, 'utf8');
  assert.match(status, /^Uid:\s+65532\s+65532\s+65532\s+65532$/m);
  for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb']) assert.match(status, new RegExp(`^Cap${set}:\\s+0+$`, 'm'));
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  const mounts = await readFile(`/proc/${await pidOf(name)}/mounts`, 'utf8');
  assert.match(mounts, /^\S+ \/ \S+ ro,/m);

  const client = await setup.connect(SDK_V1, 'github');
  assert.equal(await client.call('echo', { message: 'from the image' }), 'from the image');
  assert.equal(setup.backends.github.requests[0]?.claims?.aud, setup.backends.github.resource);
  const reloads = () => setup.cambist.metric('cambist_config_reloads_total', { result: 'success' });
  const before = await reloads();
  await setup.cambist.rewriteConfig(`# changed\n${await readFile(setup.cambist.configFile, 'utf8')}`);
  await eventually('the changed config is active', async () => (await reloads()) > before);
  assert.equal(await client.call('echo', { message: 'again' }), 'again');
  await client.close();

  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await setup.cambist.exit, { code: 0, signal: null });
  assert.equal(setup.cambist.logs().at(-1)?.msg, 'cambist has stopped');
  assert.equal(setup.cambist.stderr(), '');
});

test('contains every command', async (t) => {
  const { name, launch } = inContainer(POD_MEMORY_BYTES);
  const setup = await startMcpSetup(t, { launch, files: { 'pod.yaml': POD } });
  const cambist = (...args: string[]) => podman('exec', name, 'node', '/app/dist/main.js', ...args);
  assert.match(await cambist('validate'), /: valid: 2 routes/);
  assert.match(await cambist('explain', setup.url('github')), /Why no other route matches/);
  assert.match(await cambist('doctor'), /no problem found/);
  assert.match(await cambist('inject', '--image', 'cambist:test', '/etc/cambist/pod.yaml'), /image: cambist:test/);
  assert.equal(await cambist('uninject', '/etc/cambist/pod.yaml'), POD);
  assert.match(await cambist('gen-certs'), /^kind: Secret$/m);
  assert.match(await cambist('webhook', '--help'), /Usage: cambist webhook/);
  assert.equal(await cambist('schema'), await readFile('config/cambist.schema.json', 'utf8'));
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  assert.equal(await cambist('version'), `${version}\n`);
});

test('takes the code cache of the image', async () => {
  const { Entrypoint } = await imageConfig();
  const check = `
    const { cacheFile, compileProgram } = await import('/app/dist/program.js');
    const { readFileSync } = await import('node:fs');
    const bundle = '/app/dist/cambist.cjs';
    console.log(compileProgram(bundle, readFileSync(cacheFile(bundle))).cachedDataRejected);`;
  const [node = '', ...flags] = Entrypoint.slice(0, -1);
  const args = [...flags, '--input-type=module', '--eval', check];
  assert.equal(
    await podman('run', '--rm', '--network=none', ...LIMITS, `--entrypoint=${node}`, IMAGE, ...args),
    'false\n',
  );
});

test('contains the parts that load on demand: tracing, token verification, signing', async (t) => {
  const receiver = await startOtlpReceiver(t);
  const spans = [`--env=OTEL_EXPORTER_OTLP_ENDPOINT=${receiver.url}`, '--env=OTEL_BSP_SCHEDULE_DELAY=50'];
  const { launch } = inContainer(POD_MEMORY_BYTES, [...RESTRICTED, ...spans]);
  const setup = await startFakeSetup(t, {
    launch,
    change: (config, { authorizationServer: { issuer } }) => {
      const local = { ...config.authorization_servers.local, dpop: true };
      return {
        ...config,
        authorization_servers: { local },
        defaults: { subject_token: { verify: { issuer, audience: 'any' } } },
      };
    },
  });
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  assert.ok(setup.authorizationServer.requests.at(-1)?.headers.dpop !== undefined);
  await eventually('the spans arrive', () => receiver.spans.length === 3);
});

test('checks the trust folder in its own container', async (t) => {
  const { name, launch } = inContainer(POD_MEMORY_BYTES, [...RESTRICTED, '--tmpfs=/run/cambist:rw,mode=0777']);
  const intercept = { ca: { dir: '/run/cambist/ca' }, trust_dir: '/run/cambist/trust' };
  const route = { name: 'r', match: { host: 'r.example.com' }, upstream: 'https://r.example.com', credential: 'none' };
  const ephemeral = { version: 1, intercept: { ...intercept, ca: 'ephemeral' }, routes: [route] };
  const config = { intercept, routes: [route] };
  const cambist = await startCambist(t, { launch, config, files: { 'ephemeral.yaml': JSON.stringify(ephemeral) } });
  await cambist.ready();
  for (const file of ['cambist.yaml', 'ephemeral.yaml']) {
    const args = ['doctor', '--trust', '--json', '--config', `/etc/cambist/${file}`];
    const { findings } = JSON.parse(await podman('exec', name, 'node', '/app/dist/main.js', ...args));
    const codes = findings.map(({ code }: { code: string }) => code);
    assert.deepEqual(codes, ['trust_folder_read', ...Array(5).fill('trust_expected')], file);
  }
  const left = await podman('exec', name, 'node', '-p', 'fs.readdirSync("/run/cambist/trust").join()');
  assert.equal(left.trim(), 'bundle.pem,ca.pem,env,truststore.p12');
});

test('writes no file, even as root', async (t) => {
  const { name, launch } = inContainer(POD_MEMORY_BYTES, ['--cap-drop=ALL', '--user=0:0', '--cap-add=DAC_OVERRIDE']);
  const setup = await startMcpSetup(t, { launch });
  const client = await setup.connect(SDK_V1, 'docs');
  assert.equal(await client.call('echo', { message: 'x' }), 'x');
  await client.close();
  const changes = (await podman('diff', name)).split('\n').filter((line) => line !== '');
  // podman itself creates mount points and files for the user.
  const createdByPodman =
    /^[AC] \/(?:(?:dev|proc|run|sys)\b.*|tmp(?:\/cambist-\w+)?|etc(?:\/(?:cambist|group|host(?:s|name)|mtab|passwd|resolv\.conf))?)$/;
  assert.deepEqual(
    changes.filter((line) => !createdByPodman.test(line)),
    [],
  );
});

test('sizes the heap by the memory limit of the container', async () => {
  const { Entrypoint } = await imageConfig();
  const flags = Entrypoint.slice(1, -1);
  const heapWith = async (memoryBytes: number): Promise<number> => {
    const limit = [`--memory=${memoryBytes}`, '--ulimit=nofile=4096:4096', '--ulimit=nproc=4096:4096'];
    const program = 'process.stdout.write(String(v8.getHeapStatistics().heap_size_limit))';
    const options = ['--rm', '--network=host', ...limit, '--entrypoint=node'];
    return Number(await podman('run', ...options, IMAGE, ...flags, '-e', program));
  };
  for (const memoryBytes of [POD_MEMORY_BYTES, 4 * POD_MEMORY_BYTES]) {
    // Half for old objects, and three semi-spaces of 8 MiB for young ones.
    assert.equal(await heapWith(memoryBytes), memoryBytes / 2 + 3 * 8 * MIB);
  }
});

test('stays within its memory limit with more concurrent callers than it admits', async (t) => {
  const { name, launch } = inContainer(POD_MEMORY_BYTES);
  await floodPod(t, launch, () => pidOf(name));
});
