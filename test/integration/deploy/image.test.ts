import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { codeWords, tableRows } from '../../harness/pages.ts';
import { megabytes, SHIPPED, withDependencies } from '../../harness/shipped-packages.ts';

const root = new URL('../../../', import.meta.url);
const readText = (name: string): string => readFileSync(new URL(name, root), 'utf8');
/** The instructions, with continuations joined. test/external/image checks what the images contain and how they start. */
const instructions = readText('Dockerfile')
  .replace(/^#.*\n/gm, '')
  .replace(/\\\n\s*/g, '')
  .split('\n');
const { version, license, dependencies } = JSON.parse(readText('package.json'));

test('one base image builds, pinned by its full version and digest; the images have none', () => {
  const [base] = instructions;
  assert.match(base ?? '', /^ARG NODE_IMAGE=node:\d+\.\d+\.\d+-[a-z]+-slim@sha256:[0-9a-f]{64}$/);
  for (const line of instructions.filter((each) => each.startsWith('FROM '))) {
    assert.match(line, /^FROM (?:\$\{NODE_IMAGE\} AS (?:build|production|system|nftables)|scratch(?: AS redirect)?)$/);
  }
});

test('the release builds on the base image of the Dockerfile, which Renovate updates', () => {
  assert.doesNotMatch(readText('.github/workflows/release.yml'), /NODE_IMAGE/);
  const { enabledManagers, extends: presets } = JSON.parse(readText('renovate.json'));
  assert.deepEqual([enabledManagers, presets], [['dockerfile'], ['docker:pinDigests']]);
});

test('the entrypoint has only flags that do not invalidate the code cache', () => {
  const [, ...flags] = JSON.parse(instructions.findLast((line) => line.startsWith('ENTRYPOINT '))?.slice(11) ?? '');
  for (const flag of flags.slice(0, -1)) assert.match(flag, /^--(?:max-(?:old|semi)-space-size|disable-sigusr1$)/);
  assert.ok(instructions.includes('RUN node deploy/code-cache.mjs'));
});

test('the image installs production dependencies from the lock file, without their scripts', () => {
  const installs = instructions.filter((line) => /^RUN npm (?!run\b)/.test(line));
  assert.equal(installs.length, 2);
  for (const install of installs) assert.match(install, /^RUN npm ci (--omit=dev )?--ignore-scripts/);
  const production = instructions.slice(instructions.findIndex((line) => line.endsWith(' AS production')));
  assert.ok(production.includes(installs.find((line) => line.includes('--omit=dev')) ?? ''));
});

test('the labels of both images match package.json', () => {
  const labels = instructions.filter((line) => line.startsWith('LABEL '));
  assert.equal(labels.length, 2);
  for (const label of labels) {
    assert.ok(label.includes(`org.opencontainers.image.version="${version}"`));
    assert.ok(label.includes(`org.opencontainers.image.licenses="${license}"`));
  }
  assert.match(readText('LICENSE'), /Apache License\s+Version 2\.0/);
});

const printBom = (): string => execFileSync(process.execPath, ['deploy/sbom.mjs'], { encoding: 'utf8' });

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { alg: string; content: string }[];
  readonly licenses?: readonly unknown[];
}

interface Locked {
  readonly version: string;
  readonly integrity?: string;
  readonly dev?: boolean;
}

const text = printBom();
const bom = JSON.parse(text);

test('the SBOM is CycloneDX and describes this version of cambist', () => {
  assert.equal(bom.bomFormat, 'CycloneDX');
  assert.match(bom.specVersion, /^1\.[5-9]$/);
  const { name, version: described, purl } = bom.metadata.component;
  assert.deepEqual([name, described, purl], ['cambist', version, `pkg:npm/cambist@${version}`]);
});

test('the SBOM lists exactly the packages that are shipped, each with its checksum and licence', () => {
  const packages: Record<string, Locked> = JSON.parse(readText('package-lock.json')).packages;
  const shipped = Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { version }]) => `${path.split('node_modules/').at(-1)}@${version}`);
  const components: readonly Component[] = bom.components;
  const listed = components.map(({ name, version }) => `${name}@${version}`);
  assert.deepEqual([...new Set(listed)].sort(), [...new Set(shipped)].sort());
  const integrities = new Set(Object.values(packages).map(({ integrity }) => integrity));
  for (const { name, purl, hashes = [], licenses = [] } of components) {
    assert.match(purl, /^pkg:npm\/.+@\d/);
    const [hash] = hashes;
    const digest = Buffer.from(hash?.content ?? '', 'hex').toString('base64');
    assert.ok(hash?.alg === 'SHA-512' && integrities.has(`sha512-${digest}`), name);
    assert.ok(licenses.length > 0, `${name} has no licence`);
  }
});

test('the SBOM of one commit is always the same text', () => {
  assert.equal(printBom(), text);
});

const readme = readText('deploy/image.md');
const rows = tableRows(readme, 'with dependencies');

/** The growth of a package that passes without review. */
const GROWTH = 1.25;
const SMALL_MB = 0.2;

test('deploy/image.md lists exactly the direct dependencies', () => {
  const listed = rows.map(([name]) => codeWords(name ?? '')[0]);
  assert.deepEqual(listed.sort(), Object.keys(dependencies).sort());
});

test('every shipped package comes with one of them', () => {
  const brought = new Set(rows.flatMap(([name]) => withDependencies(codeWords(name ?? '')[0] ?? '')));
  assert.deepEqual([...brought].sort(), [...SHIPPED].sort());
});

test('every package with its dependencies has about the size in deploy/image.md', () => {
  for (const [name = '', , size] of rows) {
    const actual = megabytes(withDependencies(codeWords(name)[0] ?? ''));
    assert.ok(isAbout(actual, Number(size)), `${name} is ${actual.toFixed(1)} MB: image.md ${size}`);
  }
});

test('all shipped packages have about the total size in deploy/image.md', () => {
  const [, count, total] = /(\d+) packages of npm, (\d+) MB of files/.exec(readme) ?? [];
  assert.equal(SHIPPED.length, Number(count));
  const actual = megabytes(SHIPPED);
  assert.ok(isAbout(actual, Number(total)), `${actual.toFixed(1)} MB: image.md ${total}`);
});

function isAbout(actual: number, said: number): boolean {
  return actual <= said * GROWTH + SMALL_MB && said <= actual * GROWTH + SMALL_MB;
}
