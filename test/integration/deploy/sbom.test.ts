import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { alg: string; content: string }[];
  readonly licenses?: readonly unknown[];
}

interface Bom {
  readonly bomFormat: string;
  readonly specVersion: string;
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
}

interface Locked {
  readonly version: string;
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
}

const readJson = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T;
const printBom = (): string => execFileSync(process.execPath, ['deploy/sbom.mjs'], { encoding: 'utf8' });

const text = printBom();
const bom = JSON.parse(text) as Bom;

test('the SBOM is CycloneDX and describes this version of cambist', () => {
  const { version } = readJson<{ version: string }>('package.json');
  assert.equal(bom.bomFormat, 'CycloneDX');
  assert.match(bom.specVersion, /^1\.[5-9]$/);
  const { name, version: described, purl } = bom.metadata.component;
  assert.deepEqual([name, described, purl], ['cambist', version, `pkg:npm/cambist@${version}`]);
});

test('the SBOM lists exactly the packages that are shipped, each with its checksum and licence', () => {
  const { packages } = readJson<{ packages: Record<string, Locked> }>('package-lock.json');
  const shipped = Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { version }]) => `${path.split('node_modules/').at(-1)}@${version}`);
  const listed = bom.components.map(({ name, version }) => `${name}@${version}`);
  assert.deepEqual([...new Set(listed)].sort(), [...new Set(shipped)].sort());
  const integrities = new Set(Object.values(packages).map(({ integrity }) => integrity));
  for (const { name, purl, hashes = [], licenses = [] } of bom.components) {
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
