import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { ERROR_CODES } from '../../../src/errors.ts';
import { createRegistry } from '../../../src/observability/metrics.ts';
import { problemsOfManifest, problemsOfPart } from '../../harness/kubernetes-schema.ts';
import { NOTHING_YET } from '../../harness/metric-sources.ts';
import { readPagesIn } from '../../harness/pages.ts';
import { exampleConfigText, parseDocuments, readDeployFile } from './manifests.ts';

const root = new URL('../../../', import.meta.url);
const guide = readPagesIn('deploy');
const blocks = [...guide.matchAll(/^```yaml *(\w*)\n(.*?)^```$/gms)].map(([, type = '', text = '']) => ({
  type,
  text,
}));
/** kagent's kinds are held to its schemas beside the injection, in test/unit/kubernetes; helm takes values in test/external/deploy. */
const ownBlocks = blocks.filter(({ type }) => !['kagent', 'values'].includes(type));

/** What is wrong with a block; the last paragraph of the README says what the word after `yaml` means. */
function problemsOfBlock({ type, text }: { type: string; text: string }): readonly unknown[] {
  if (type === '') return parseDocuments(text).flatMap(problemsOfManifest);
  if (type !== 'cambist') return problemsOfPart(type, parse(text));
  const merged = { ...(parse(exampleConfigText()) as object), ...(parse(text) as object) };
  return parseConfig(stringify(merged), 'deploy').problems;
}

test('every YAML block of the Kubernetes guide is valid', () => {
  assert.ok(ownBlocks.length >= 3);
  for (const block of ownBlocks) assert.deepEqual(problemsOfBlock(block), [], block.text);
});

test('every code that the Kubernetes guide and SECURITY.md name exists', () => {
  const text = `${guide}\n${readFileSync(new URL('SECURITY.md', root), 'utf8')}`;
  const known: readonly string[] = ERROR_CODES;
  for (const [code] of text.matchAll(/ERR_[A-Z_]+[A-Z]/g)) assert.ok(known.includes(code), code);
});

test('every metric that the Kubernetes guide names exists', () => {
  const known = createRegistry('0', NOTHING_YET)
    .getMetricsAsArray()
    .map(({ name }) => name);
  // The webhook's own are held to it in test/unit/kubernetes.
  const named = [...guide.matchAll(/\bcambist_(?!webhook_)[a-z_]+[a-z]/g)];
  assert.ok(named.length >= 3);
  for (const [name] of named) assert.ok(known.includes(name), name);
});

test('every path below deploy/ that a page names exists', () => {
  const paths = new Set([...guide.matchAll(/(?<![\w./-])deploy(?:\/[\w.-]+)+/g)].map(([path]) => path));
  assert.ok(paths.size >= 10);
  for (const path of paths) assert.ok(existsSync(new URL(path, root)), path);
});

test('the guide builds, pushes and pins what the manifests and the Dockerfile name', () => {
  const image = /image: (\S*cambist:\S+)/.exec(readDeployFile('pod.yaml'))?.[1] ?? '';
  for (const [tag] of guide.matchAll(/registry\.example\.com\/cambist:[\w.]+/g)) assert.equal(tag, image);
  const dockerfile = readFileSync(new URL('Dockerfile', root), 'utf8');
  for (const [base] of guide.matchAll(/node:\d[\w.-]+/g)) assert.ok(dockerfile.includes(`=${base}\n`), base);
});
