import assert from 'node:assert/strict';
import { isAscii } from 'node:buffer';
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Launch } from '../harness/cambist-process.ts';
import { type FakeSetupOptions, startFakeSetup } from '../harness/fake-setup.ts';
import { type Loaded, readLoaded, SCHEMA_COMPILERS } from '../harness/loaded-modules.ts';
import { codeWords, tableRows } from '../harness/markdown.ts';
import { BUILT_PROGRAM, runProgram } from '../harness/run-command.ts';

const WITH_SPANS = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_EXPORTER_OTLP_TIMEOUT: '100' };

const verifying: NonNullable<FakeSetupOptions['change']> = (config, { authorizationServer }) => ({
  ...config,
  defaults: { subject_token: { verify: { issuer: authorizationServer.issuer, audience: 'any' } } },
});

test('a start with a plain config loads those packages that the table of what ships says, and no other', async (t) => {
  const { packages } = await loadedBy(t);
  const shipped = tableRows(await readFile('deploy/image.md', 'utf8'), 'with dependencies').map(([name, , , when]) => ({
    name: codeWords(name ?? '')[0] ?? '',
    when,
  }));
  const expected = shipped.filter(({ when }) => when === 'at start').map(({ name }) => name);
  assert.ok(expected.length > 0);
  assert.deepEqual(
    shipped.map(({ name }) => name).filter((name) => packages.has(name)),
    expected,
  );
});

test('a start loads no part of another command', async (t) => {
  const { own } = await loadedBy(t);
  assert.ok(own.includes('commands/run.ts'));
  const ofOthers = own.filter((file) =>
    /^(kubernetes|doctor)\/|^commands\/(?!run|command|usages|log-level|print-problems|reloads|stop-signals|tick-shape)/.test(
      file,
    ),
  );
  assert.deepEqual(ofOthers, []);
});

test('the SDK of OpenTelemetry is loaded where its variables ask for spans', async (t) => {
  const { packages } = await loadedBy(t, { env: WITH_SPANS });
  assert.ok(packages.has('@opentelemetry/sdk-trace-base'));
});

test('what verifies subject tokens is loaded where a route verifies them', async (t) => {
  const file = 'tokens/subject-check.ts';
  assert.ok(!(await loadedBy(t)).own.includes(file));
  assert.ok((await loadedBy(t, { change: verifying })).own.includes(file));
});

test('the build is all of cambist: it serves where there is no package, and spans and verifies, too', async (t) => {
  const elsewhere = await mkdtemp(join(tmpdir(), 'cambist-alone-'));
  t.after(() => rm(elsewhere, { recursive: true, force: true }));
  for (const name of ['dist', 'package.json']) await cp(name, join(elsewhere, name), { recursive: true });
  const program = join(elsewhere, 'dist/main.js');
  const launch: Launch = async (configFile) => [process.execPath, program, 'run', '--config', configFile];
  const setup = await startFakeSetup({ launch, change: verifying, env: WITH_SPANS });
  t.after(setup.close);
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
});

test('the build leaves out what nothing asks for: what compiles schemas for Fastify, and the languages of zod', async () => {
  const maps = (await readdir('dist')).filter((name) => name.endsWith('.map'));
  const texts = await Promise.all(maps.map((name) => readFile(join('dist', name), 'utf8')));
  const sources = texts.flatMap((text) => (JSON.parse(text) as { sources: string[] }).sources);
  assert.ok(sources.some((source) => source.includes('/node_modules/zod/')));
  const unwanted = [...SCHEMA_COMPILERS, 'zod/v4/locales'].map((name) => `/node_modules/${name}/`);
  assert.deepEqual(
    sources.filter((source) => !source.endsWith('/locales/en.js') && unwanted.some((part) => source.includes(part))),
    [],
  );
});

test('bytes that a package exports are taken as they are: a getter for each would be twenty MiB of a start', async () => {
  const scripts = (await readdir('dist')).filter((name) => name.endsWith('.js'));
  const text = (await Promise.all(scripts.map((name) => readFile(join('dist', name), 'utf8')))).join('');
  assert.match(text, /=require_llhttp_simd_wasm\(\)/);
  assert.doesNotMatch(text, /__toESM\(require_llhttp/);
});

test('every file of the build is ASCII: V8 keeps the text of what it has loaded, and others in twice the memory', async () => {
  const scripts = (await readdir('dist')).filter((name) => name.endsWith('.js'));
  assert.ok(scripts.length > 10);
  for (const name of scripts) assert.ok(isAscii(await readFile(join('dist', name))), name);
});

test('where Node is asked for it, a stack trace names file and line of the source', async () => {
  const fault = `data:text/javascript,${encodeURIComponent("process.stdout.write = () => { throw new Error('x'); };")}`;
  const program = [...['--enable-source-maps', '--import', fault], BUILT_PROGRAM, '--help'];
  const { stderr } = await runProgram(process.execPath, program);
  assert.match(stderr, /^ {4}at help \(.*\bsrc\/main\.ts:\d+:\d+\)$/m);
});

/** What the built program loads for one call. */
async function loadedBy(t: TestContext, { env, ...options }: FakeSetupOptions = {}): Promise<Loaded> {
  const directory = await mkdtemp(join(tmpdir(), 'cambist-loaded-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const setup = await startFakeSetup({ ...options, env: { ...env, NODE_V8_COVERAGE: directory } });
  t.after(setup.close);
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  setup.cambist.signal('SIGTERM');
  await setup.cambist.exit;
  return readLoaded(directory);
}
