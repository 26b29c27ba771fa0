import assert from 'node:assert/strict';
import { isAscii } from 'node:buffer';
import { execFile } from 'node:child_process';
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type * as Program from '../../src/program.ts';
import type { Launch } from '../harness/cambist-process.ts';
import { type FakeSetupOptions, startFakeSetup } from '../harness/fake-setup.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { type Loaded, readLoaded, SCHEMA_COMPILERS } from '../harness/loaded-modules.ts';
import { codeWords, tableRows } from '../harness/pages.ts';
import { BUILT_PROGRAM, runProgram } from '../harness/run-command.ts';

const WITH_SPANS = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_EXPORTER_OTLP_TIMEOUT: '100' };

const verifying: NonNullable<FakeSetupOptions['change']> = (config, { authorizationServer }) => ({
  ...config,
  defaults: { subject_token: { verify: { issuer: authorizationServer.issuer, audience: 'any' } } },
});

test('loads at start exactly the packages that deploy/image.md lists, no part of another command, and nothing that is off', async (t) => {
  const { packages, own } = await loadedBy(t);
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
  assert.ok(own.includes('commands/run.ts'));
  const others =
    /^(kubernetes|doctor|intercept|inbound)\/|^tokens\/subject-check|^transport\/certificates|^commands\/(?!run|command|usages|report-problems|reloads|team-reloads|stop-signals)/;
  assert.deepEqual(
    own.filter((file) => others.test(file)),
    [],
  );
});

const INBOUND = {
  listen: '127.0.0.1:0',
  agent: 'http://127.0.0.1:9',
  verify: { issuer: 'https://idp.example.com', audience: 'agent', jwks_uri: 'http://127.0.0.1:9/jwks' },
  allow_raw_tokens: true,
};

for (const [part, file, options] of [
  ['the OpenTelemetry SDK', '@opentelemetry/sdk-trace-base', { env: WITH_SPANS }],
  ['the verification of subject tokens', 'tokens/subject-check.ts', { change: verifying }],
  [
    'interception, and the packages for certificates',
    'asn1js',
    { change: (config, { directory }) => ({ ...config, intercept: { trust_dir: join(directory, 'trust') } }) },
  ],
  [
    'the way of callers to the agent',
    'inbound/inbound-pipeline.ts',
    { change: (config) => ({ ...config, inbound: INBOUND }), ready: false },
  ],
] as const satisfies [string, string, FakeSetupOptions][]) {
  test(`loads ${part} if the config or a variable asks for it`, async (t) => {
    const { packages, own } = await loadedBy(t, options);
    assert.ok(packages.has(file) || own.includes(file));
  });
}

test('serves, traces and verifies tokens from the build alone, without node_modules', async (t) => {
  const elsewhere = temporaryFolder(t);
  for (const name of ['dist', 'package.json']) await cp(name, join(elsewhere, name), { recursive: true });
  const program = join(elsewhere, 'dist/main.js');
  const launch: Launch = async (configFile) => [process.execPath, program, 'run', '--config', configFile];
  const setup = await startFakeSetup(t, { launch, change: verifying, env: WITH_SPANS });
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
});

test('excludes the schema compilers of Fastify and the languages of zod from the build', async () => {
  const maps = (await readdir('dist')).filter((name) => name.endsWith('.map'));
  const texts = await Promise.all(maps.map((name) => readFile(join('dist', name), 'utf8')));
  const sources = texts.flatMap((text) => (JSON.parse(text) as { sources: string[] }).sources);
  assert.ok(sources.some((source) => source.includes('/node_modules/zod/')));
  const unwanted = [...SCHEMA_COMPILERS, 'zod/v4/locales'].map((name) => `/node_modules/${name}/`);
  assert.deepEqual(
    sources.filter(
      (source) => !/\/locales\/(?:en|index)\.js$/.test(source) && unwanted.some((part) => source.includes(part)),
    ),
    [],
  );
});

test('imports exported bytes without a getter for each, which would cost 24 MiB at start', async () => {
  const scripts = (await readdir('dist')).filter((name) => name.endsWith('js'));
  const text = (await Promise.all(scripts.map((name) => readFile(join('dist', name), 'utf8')))).join('');
  assert.match(text, /=\s*require_llhttp_simd_wasm\(\)/);
  assert.doesNotMatch(text, /__toESM\(require_llhttp/);
});

test('bundles the parts of undici that its index exports, and no other part', async () => {
  const build = await readFile('deploy/build.mjs', 'utf8');
  const parts = [...build.matchAll(/^ {2}(\w+): '([\w/]+\.js)',$/gm)].map(([, name = '', file = '']) => ({
    name,
    file,
  }));
  assert.ok(parts.length > 0);
  const load = createRequire(import.meta.url);
  const index = load('undici') as Record<string, unknown>;
  // If an update of undici breaks this, find the new file of the part, or drop the plugin from deploy/build.mjs.
  for (const { name, file } of parts) assert.equal(load(`undici/lib/${file}`), index[name], name);
  const { sources } = JSON.parse(await readFile('dist/cambist.cjs.map', 'utf8')) as { sources: string[] };
  assert.ok(sources.some((source) => source.includes('/undici/lib/core/connect.js')));
  assert.ok(!sources.some((source) => source.includes('/undici/lib/web/')));
});

test('replaces the parts of packages that the program never calls', async () => {
  const [, table = ''] = /UNUSED_PARTS = \{\n(.*?)\n\};/s.exec(await readFile('deploy/build.mjs', 'utf8')) ?? [];
  const parts = [...table.matchAll(/^ {2}'?([\w@/-]+)'?: [`']/gm)].map(([, part = '']) => part);
  assert.ok(parts.includes('ws') && parts.includes('pino/lib/caller'));
  const text = await readFile('dist/cambist.cjs', 'latin1');
  // If an update of a package breaks this, look for the new name of the part.
  assert.deepEqual(
    parts.filter((part) => !text.includes(`"unused:${part}"`)),
    [],
  );
});

test('leaves no import in the bundle, because a script with a code cache cannot import', async () => {
  assert.doesNotMatch(await readFile('dist/cambist.cjs', 'latin1'), /\bimport\(/);
});

test('loads neither TLS nor HTTP/2 of Node for a config without TLS', async (t) => {
  const directory = temporaryFolder(t);
  const file = join(directory, 'loaded');
  const write = `process.once('exit', () => process.getBuiltinModule('fs').writeFileSync('${file}', process.moduleLoadList.join('\\n')));`;
  const setup = await startFakeSetup(t, {
    env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(write)}` },
  });
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  setup.cambist.signal('SIGTERM');
  await setup.cambist.exit;
  const loaded = new Set((await readFile(file, 'utf8')).split('\n'));
  assert.ok(loaded.has('NativeModule http'));
  const costly = ['https', 'http2', 'tls', 'zlib', 'worker_threads'];
  assert.deepEqual(
    costly.filter((name) => loaded.has(`NativeModule ${name}`)),
    [],
  );
});

test('builds ASCII files only, because V8 keeps other sources in twice the memory', async () => {
  const scripts = (await readdir('dist')).filter((name) => name.endsWith('js'));
  assert.ok(scripts.includes('cambist.cjs'));
  for (const name of scripts) assert.ok(isAscii(await readFile(join('dist', name))), name);
});

test('maps stack traces to the sources with --enable-source-maps', async () => {
  const fault = `data:text/javascript,${encodeURIComponent("process.stdout.write = () => { throw new Error('x'); };")}`;
  const program = [...['--enable-source-maps', '--import', fault], BUILT_PROGRAM, '--help'];
  const { stderr } = await runProgram(process.execPath, program);
  assert.match(stderr, /^ {4}at help \(.*\bsrc\/main\.ts:\d+:\d+\)$/m);
});

/** The modules that the built program loads for one call. */
async function loadedBy(t: TestContext, { env, ...options }: FakeSetupOptions = {}): Promise<Loaded> {
  const directory = temporaryFolder(t);
  const setup = await startFakeSetup(t, { ...options, env: { ...env, NODE_V8_COVERAGE: directory } });
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  setup.cambist.signal('SIGTERM');
  await setup.cambist.exit;
  return readLoaded(directory);
}

test('makes a code cache that V8 accepts, from a start that is ready late', async (t) => {
  const late = `const { prototype } = process.getBuiltinModule('http').Server;
    const { emit } = prototype;
    let left = 3;
    prototype.emit = function (event, request, response) {
      if (event === 'request' && request.url === '/readyz' && left-- > 0) response.writeHead(503).end();
      else return emit.apply(this, arguments);
    };`;
  const { bundle, program } = await copyWithCache(t, {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(late)}`,
  });
  assert.equal(program.compileProgram(bundle, await readFile(program.cacheFile(bundle))).cachedDataRejected, false);
});

test('starts without the code cache if it does not fit', async (t) => {
  const { folder, bundle, program } = await copyWithCache(t);
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  const start = (...flags: string[]) => run(process.execPath, [...flags, join(folder, 'dist/main.js'), 'version']);
  // V8 takes a cache only with the flags that it was made with.
  assert.equal((await start('--no-opt')).stdout.trim(), version);
  const cache = program.cacheFile(bundle);
  await truncate(cache, 100_000);
  assert.equal(program.compileProgram(bundle, await readFile(cache)).cachedDataRejected, true);
  assert.equal((await start()).stdout.trim(), version);
  await writeFile(cache, 'no code cache');
  assert.deepEqual(await start(), { stdout: `${version}\n`, stderr: '' });
  await rm(cache);
  assert.equal((await start()).stdout.trim(), version);
});

const run = promisify(execFile);

/** A copy of the build, beside which the code cache is made. */
async function copyWithCache(
  t: TestContext,
  env: Readonly<Record<string, string>> = {},
): Promise<{ folder: string; bundle: string; program: typeof Program }> {
  const folder = temporaryFolder(t);
  for (const name of ['dist', 'package.json', 'deploy/code-cache.mjs']) {
    await cp(name, join(folder, name), { recursive: true });
  }
  await run(process.execPath, [join(folder, 'deploy/code-cache.mjs')], { env: { ...process.env, ...env } });
  const program = (await import(pathToFileURL(join(folder, 'dist/program.js')).href)) as typeof Program;
  return { folder, bundle: join(folder, 'dist/cambist.cjs'), program };
}
