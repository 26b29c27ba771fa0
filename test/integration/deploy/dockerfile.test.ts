import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseCopy, parseDockerfile, type Stage } from './dockerfile.ts';

const root = new URL('../../../', import.meta.url);
const readText = (name: string): string => readFileSync(new URL(name, root), 'utf8');
const stages = parseDockerfile(readText('Dockerfile'));
const runtime = stages.at(-1) as Stage;

const valuesOf = (stage: Stage, name: string): string[] =>
  stage.instructions.filter((instruction) => instruction.name === name).map(({ value }) => value);

test('one base image builds, pinned by its full version and digest; the runtime stage has none', () => {
  const bases = new Set(stages.map(({ base }) => base));
  assert.equal(bases.size, 2);
  const [base = ''] = bases;
  assert.match(base, /^node:\d+\.\d+\.\d+-[a-z]+-slim@sha256:[0-9a-f]{64}$/);
  assert.equal(runtime.base, 'scratch');
});

test('the release builds on the base image of the Dockerfile, which Renovate updates', () => {
  assert.doesNotMatch(readText('.github/workflows/release.yml'), /NODE_IMAGE/);
  const { enabledManagers, extends: presets } = JSON.parse(readText('renovate.json'));
  assert.deepEqual([enabledManagers, presets], [['dockerfile'], ['docker:pinDigests']]);
});

test('the image runs as a numeric user, not as root', () => {
  const [user, ...more] = valuesOf(runtime, 'USER');
  assert.match(user ?? '', /^[1-9]\d*:[1-9]\d*$/);
  assert.deepEqual(more, []);
});

test('the last stage only copies what runs', () => {
  const copies = valuesOf(runtime, 'COPY').map(parseCopy);
  for (const { from } of copies) assert.ok(stages.some(({ alias }) => alias !== undefined && alias === from));
  const sources = copies.flatMap((copy) => copy.sources.map((source) => source.replace(/^\/app\//, '')));
  assert.deepEqual(sources.sort(), ['/system', 'LICENSE', 'dist', 'node_modules', 'package.json']);
  for (const name of ['RUN', 'ADD', 'HEALTHCHECK', 'SHELL']) assert.deepEqual(valuesOf(runtime, name), [], name);
});

test('the image of the init container has one script, and none of cambist', () => {
  const redirect = stages.find(({ alias }) => alias === 'redirect') as Stage;
  assert.equal(redirect.base, 'scratch');
  const sources = valuesOf(redirect, 'COPY').flatMap((copy) => parseCopy(copy).sources);
  assert.deepEqual(sources.sort(), ['/system', 'LICENSE', 'deploy/redirect/redirect.sh']);
  assert.deepEqual(valuesOf(redirect, 'USER'), ['0:0']);
  assert.deepEqual(JSON.parse(valuesOf(redirect, 'ENTRYPOINT')[0] ?? ''), ['sh', '/usr/bin/cambist-redirect']);
  const versions = [redirect, runtime].map(
    (stage) => /image\.version="[^"]+"/.exec(valuesOf(stage, 'LABEL').join())?.[0],
  );
  assert.equal(versions[0], versions[1]);
});

test('the entrypoint runs the program without a shell', () => {
  const entrypoint = JSON.parse(valuesOf(runtime, 'ENTRYPOINT')[0] ?? '') as string[];
  const [program, ...rest] = entrypoint;
  assert.deepEqual([program, rest.at(-1)], ['node', '/app/dist/main.js']);
  for (const flag of rest.slice(0, -1)) assert.match(flag, /^--(?:max-[a-z-]+=\d+|disable-sigusr1)$/);
  assert.deepEqual(JSON.parse(valuesOf(runtime, 'CMD')[0] ?? ''), ['run']);
});

test('the entrypoint has only flags that do not invalidate the code cache', () => {
  const [, ...flags] = (JSON.parse(valuesOf(runtime, 'ENTRYPOINT')[0] ?? '') as string[]).slice(0, -1);
  for (const flag of flags) assert.match(flag, /^--(?:max-(?:old|semi)-space-size|disable-sigusr1$)/);
  const runs = stages.flatMap((stage) => valuesOf(stage, 'RUN'));
  assert.ok(runs.includes('node deploy/code-cache.mjs'));
});

test('the image installs production dependencies from the lock file, without their scripts', () => {
  const installs = stages.flatMap((stage) => valuesOf(stage, 'RUN')).filter((run) => /\bnpm (?!run\b)/.test(run));
  assert.equal(installs.length, 2);
  for (const install of installs) assert.match(install, /^npm ci (--omit=dev )?--ignore-scripts/);
  const production = stages.find(({ alias }) => alias === 'production') as Stage;
  assert.match(valuesOf(production, 'RUN').join(), /npm ci --omit=dev /);
  assert.match(valuesOf(runtime, 'ENV').join(), /NODE_ENV=production/);
});

test('every file copied from the context exists and passes .dockerignore', () => {
  const [everything, ...allowed] = readText('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  assert.equal(everything, '*');
  const sources = stages
    .flatMap((stage) => valuesOf(stage, 'COPY').map(parseCopy))
    .filter(({ from }) => from === undefined)
    .flatMap((copy) => copy.sources);
  for (const source of sources) assert.ok(existsSync(new URL(source, root)), source);
  assert.deepEqual(allowed.sort(), [...new Set(sources)].map((source) => `!${source}`).sort());
});

test('the labels match package.json', () => {
  const { version, license } = JSON.parse(readText('package.json')) as { version: string; license: string };
  const labels = valuesOf(runtime, 'LABEL').join(' ');
  assert.ok(labels.includes(`org.opencontainers.image.version="${version}"`));
  assert.ok(labels.includes(`org.opencontainers.image.licenses="${license}"`));
  assert.match(readText('LICENSE'), /Apache License\s+Version 2\.0/);
});
