import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Launch } from '../harness/cambist-process.ts';
import { type Loaded, readLoaded, SCHEMA_COMPILERS } from '../harness/loaded-modules.ts';
import { codeWords, tableRows } from '../harness/markdown.ts';
import { runProgram } from '../harness/run-command.ts';
import { type SceneOptions, startScene } from '../harness/scene.ts';

const WITH_SPANS = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_EXPORTER_OTLP_TIMEOUT: '100' };

const verifying: NonNullable<SceneOptions['change']> = (config, { authorizationServer }) => ({
  ...config,
  defaults: { subject_token: { verify: { issuer: authorizationServer.issuer, audience: 'any' } } },
});

test('a start with a plain config loads those packages that the table of what ships says, and no other', async (t) => {
  const { packages } = await loadedBy(t);
  const shipped = tableRows(await readFile('deploy/README.md', 'utf8'), 'with what it brings').map(
    ([name, , , when]) => ({
      name: codeWords(name ?? '')[0] ?? '',
      when,
    }),
  );
  const expected = shipped.filter(({ when }) => when === 'at the start').map(({ name }) => name);
  assert.ok(expected.length > 0);
  assert.deepEqual(
    shipped.map(({ name }) => name).filter((name) => packages.has(name)),
    expected,
  );
});

test('a start loads nothing that compiles schemas for Fastify', async (t) => {
  const { packages } = await loadedBy(t);
  assert.ok(packages.has('fastify'));
  for (const name of SCHEMA_COMPILERS) assert.ok(!packages.has(name), name);
});

test('a start loads no part of another command', async (t) => {
  const { own } = await loadedBy(t);
  assert.ok(own.includes('commands/run.js'));
  const ofOthers = own.filter((file) =>
    /^(kubernetes|doctor)\/|^commands\/(?!run|command|usages|log-level|reloads|stop-signals)/.test(file),
  );
  assert.deepEqual(ofOthers, []);
});

test('the SDK of OpenTelemetry is loaded where its variables ask for spans', async (t) => {
  const { packages } = await loadedBy(t, { env: WITH_SPANS });
  assert.ok(packages.has('@opentelemetry/sdk-trace-base'));
});

test('what verifies subject tokens is loaded where a route verifies them', async (t) => {
  const file = 'tokens/subject-check.js';
  assert.ok(!(await loadedBy(t)).own.includes(file));
  assert.ok((await loadedBy(t, { change: verifying })).own.includes(file));
});

test('the bundle of the image is all of cambist: it serves without a package or a file of the build', async (t) => {
  const { code, stderr } = await runProgram('npm', ['run', '--silent', 'bundle']);
  assert.equal(code, 0, stderr);
  const launch: Launch = async (configFile) => [process.execPath, 'bundle/main.js', 'run', '--config', configFile];
  const { packages, own } = await loadedBy(t, { launch, change: verifying, env: WITH_SPANS });
  assert.deepEqual([...packages], []);
  assert.deepEqual(own, []);
  const scripts = (await readdir('bundle')).filter((name) => name.endsWith('.js'));
  assert.ok(scripts.length > 10);
  for (const name of scripts) {
    const bytes = await readFile(join('bundle', name));
    assert.ok(
      bytes.every((byte) => byte < 0x80),
      `${name} is not ASCII, and V8 may keep it in twice the memory`,
    );
  }
});

/** What the built program loads for one call. */
async function loadedBy(t: TestContext, { env, ...options }: SceneOptions = {}): Promise<Loaded> {
  const directory = await mkdtemp(join(tmpdir(), 'cambist-loaded-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const scene = await startScene({ ...options, env: { ...env, NODE_V8_COVERAGE: directory } });
  t.after(scene.close);
  assert.equal((await scene.call({ headers: await scene.bearer() })).status, 200);
  scene.cambist.signal('SIGTERM');
  await scene.cambist.exit;
  return readLoaded(directory);
}
