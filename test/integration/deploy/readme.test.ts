import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { ERROR_CODES } from '../../../src/error-catalogue.ts';
import { createMetrics } from '../../../src/observability/metrics.ts';
import { problemsOfManifest, problemsOfPart } from '../../harness/kubernetes-schema.ts';
import { EMPTY_SOURCES } from '../../harness/metric-sources.ts';
import { readPagesIn } from '../../harness/pages.ts';
import { exampleConfigText, parseDocuments, readDeployFile } from './manifests.ts';

const root = new URL('../../../', import.meta.url);
const guide = readPagesIn('deploy');
const blocks = [...guide.matchAll(/^```yaml *(\w*)\n(.*?)^```$/gms)].map(([, type = '', text = '']) => ({
  type,
  text,
}));
/** Blocks of kagent are tested in test/unit/kubernetes; values of the chart and files of kustomize in test/external/deploy. */
const ownBlocks = blocks.filter(({ type }) => !['kagent', 'values', 'kustomize'].includes(type));

/** The problems of a block. deploy/README.md explains the word after `yaml`. */
function problemsOfBlock({ type, text }: { type: string; text: string }): readonly unknown[] {
  if (type === '') return parseDocuments(text).flatMap(problemsOfManifest);
  if (type !== 'cambist') return problemsOfPart(type, parse(text));
  const merged = { ...(parse(exampleConfigText()) as object), ...(parse(text) as object) };
  return parseConfig(stringify(merged), 'deploy').problems;
}

test('every YAML block of the Kubernetes pages is valid', () => {
  assert.ok(ownBlocks.length >= 3);
  for (const block of ownBlocks) assert.deepEqual(problemsOfBlock(block), [], block.text);
});

test('every error code in the Kubernetes pages and SECURITY.md exists', () => {
  const text = `${guide}\n${readFileSync(new URL('SECURITY.md', root), 'utf8')}`;
  const known: readonly string[] = ERROR_CODES;
  for (const [code] of text.matchAll(/ERR_[A-Z_]+[A-Z]/g)) assert.ok(known.includes(code), code);
});

test('every metric in the Kubernetes pages exists', async () => {
  const text = await createMetrics('0', EMPTY_SOURCES).write();
  const known = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  // Signals and the shared cache have metrics of their own.
  const documented = readFileSync(new URL('config/metrics.md', root), 'utf8').matchAll(/^\| `(cambist_\w+)`/gm);
  for (const [, name] of documented) known.push(name);
  // test/unit/kubernetes tests the webhook's own metrics.
  const named = [...guide.matchAll(/\bcambist_(?!webhook_)[a-z_]+[a-z]/g)];
  assert.ok(named.length >= 3);
  for (const [name] of named) assert.ok(known.includes(name), name);
});

test('every path below deploy/ that a page names exists', () => {
  const paths = new Set([...guide.matchAll(/(?<![\w./-])deploy(?:\/[\w.-]+)+/g)].map(([path]) => path));
  assert.ok(paths.size >= 10);
  for (const path of paths) assert.ok(existsSync(new URL(path, root)), path);
});

test('the pages use the image of the manifests and the base of the Dockerfile', () => {
  const image = /image: (\S*cambist:\S+)/.exec(readDeployFile('pod.yaml'))?.[1] ?? '';
  for (const [tag] of guide.matchAll(/registry\.example\.com\/cambist:[\w.]+/g)) assert.equal(tag, image);
  const dockerfile = readFileSync(new URL('Dockerfile', root), 'utf8');
  for (const [base] of guide.matchAll(/node:\d[\w.-]+/g)) assert.ok(dockerfile.includes(`=${base}@sha256:`), base);
});
