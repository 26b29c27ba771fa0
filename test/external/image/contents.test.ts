import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { SHIPPED } from '../../harness/shipped-packages.ts';
import { type Entry, entriesOf, imageConfig } from './podman.ts';

const MIB = 1024 * 1024;

/** The limits in `deploy/image.md`. */
const MAX_APP_BYTES = 12 * MIB;
const MAX_IMAGE_BYTES = 150 * MIB;

const entries = (await entriesOf())
  // podman creates these in every container.
  .filter(({ path }) => !/^(?:dev|proc|sys|run|etc\/(?:hosts|hostname|resolv\.conf|mtab))(?:\/|$)/.test(path));

const files = entries.filter(({ mode }) => mode.startsWith('-'));
const isAboutPackage = (path: string): boolean => /\/(?:package\.json|licen[cs]e[^/]*)$/i.test(path);
const below = (folder: string): Entry[] => files.filter(({ path }) => path.startsWith(folder));
const sizeOf = (list: readonly Entry[]): number => list.reduce((sum, { bytes }) => sum + bytes, 0);

test('declares a non-root user, two ports, and node as the entry point', async () => {
  const config = await imageConfig();
  assert.equal(config.User, '65532:65532');
  assert.deepEqual(Object.keys(config.ExposedPorts).sort(), ['8180/tcp', '9180/tcp']);
  assert.equal(config.Entrypoint[0], 'node');
  assert.equal(config.Entrypoint.at(-1), '/app/dist/main.js');
  assert.deepEqual(config.Cmd, ['run']);
  assert.deepEqual(config.Env.sort(), [
    'MALLOC_ARENA_MAX=1',
    'MALLOC_MMAP_THRESHOLD_=131072',
    'NODE_ENV=production',
    'PATH=/usr/local/bin',
    'UV_THREADPOOL_SIZE=16',
  ]);
  assert.equal(config.Labels['org.opencontainers.image.title'], 'cambist');
  assert.equal(config.Labels['org.opencontainers.image.revision'], 'test');
});

test('contains only node, its libraries and their licences beside cambist', () => {
  const folders = [...new Set(entries.map(({ path }) => path.split('/')[0]))].sort();
  assert.deepEqual(folders, ['app', 'etc', 'lib', 'lib64', 'usr', 'var']);
  assert.deepEqual(
    below('etc/').map(({ path }) => path),
    ['etc/nsswitch.conf', 'etc/os-release'],
  );
  const programs = files.filter(({ path, mode }) => mode.includes('x') && !path.startsWith('app/'));
  for (const { path } of programs) assert.match(path, /^usr\/local\/bin\/node$|\/(?:lib|ld-)[^/]+\.so\.\d+$/);
  const known = below('var/lib/dpkg/status.d/').map(({ path }) => path.replace(/.*\//, ''));
  assert.ok(
    ['libc6', 'libgcc-s1', 'libstdc++6'].every((name) => known.includes(name)),
    known.join(),
  );
  for (const name of known) assert.equal(below(`usr/share/doc/${name}/copyright`).length, 1, name);
});

test('contains the build, and only package.json and licence files of packages', () => {
  const top = [...new Set(entries.flatMap(({ path }) => /^app\/([^/]+)/.exec(path)?.[1] ?? []))].sort();
  assert.deepEqual(top, ['LICENSE', 'dist', 'node_modules', 'package.json']);
  const present = new Set(files.map(({ path }) => path));
  assert.ok(present.has('app/dist/main.js'));
  for (const { path } of below('app/dist/'))
    assert.match(path, /^app\/dist\/[^/]+\.c?js(?:\.map|\.LEGAL\.txt|\.cache)?$/);
  for (const { path } of below('app/node_modules/')) assert.ok(isAboutPackage(path), path);
});

test('lists exactly the production packages of the lock file, with their licences', () => {
  const present = new Set(files.map(({ path }) => path));
  for (const path of SHIPPED) {
    const wanted = readdirSync(path).filter((name) => isAboutPackage(`/${name}`));
    assert.ok(wanted.includes('package.json'), path);
    for (const name of wanted) assert.ok(present.has(`app/${path}/${name}`), `${path}/${name}`);
  }
  const named = below('app/node_modules/').map(({ path }) => path.slice('app/'.length));
  for (const path of named)
    assert.ok(
      SHIPPED.some((shipped) => path.startsWith(`${shipped}/`)),
      path,
    );
});

test('makes every file readable and none writable for its user', () => {
  for (const { path, mode, owner } of entries) {
    if (mode.startsWith('l')) continue;
    assert.equal(owner, '0/0', path);
    assert.match(mode, /^.r..r-.r-.$/, path);
    assert.ok(!mode.includes('s') && !mode.includes('t'), path);
  }
});

test('is as small as documented', (t) => {
  const packages = files.filter(({ path }) => /node_modules\/(?:@[^/]+\/)?[^/@]+\/package\.json$/.test(path));
  const app = sizeOf(below('app/'));
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
  t.diagnostic(
    `all ${mib(sizeOf(files))}, node ${mib(sizeOf(below('usr/local/bin/')))}, libraries ${mib(sizeOf(below('lib')))}`,
  );
  t.diagnostic(`app ${mib(app)}: dist ${mib(sizeOf(below('app/dist/')))}, ${packages.length} packages`);
  assert.ok(app < MAX_APP_BYTES, `${app} bytes of app`);
  assert.ok(sizeOf(files) < MAX_IMAGE_BYTES, `${sizeOf(files)} bytes`);
});
