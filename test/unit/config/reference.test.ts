import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { z } from 'zod';
import { DEFAULTS } from '../../../src/config/defaults.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { upstreamPath } from '../../../src/routing/upstream-path.ts';
import { readPagesIn } from '../../harness/pages.ts';
import { configOf, problemsOf, ROUTE, SERVER } from './sample.ts';

const FOLDER = new URL('../../../config/', import.meta.url);
const reference = readPagesIn('config');

/** Every key of the schema, at any depth. */
function keysOf(schema: unknown): string[] {
  if (schema instanceof z.ZodOptional) return keysOf(schema.unwrap());
  if (schema instanceof z.ZodArray) return keysOf(schema.element);
  if (schema instanceof z.ZodRecord) return keysOf(schema.valueType);
  if (!(schema instanceof z.ZodObject)) return [];
  return Object.entries(schema.shape).flatMap(([key, part]) => [key, ...keysOf(part)]);
}

test('the reference names every key', () => {
  const keys = new Set(keysOf(configSchema));
  assert.ok(keys.size > 50);
  const words = new Set([...reference.matchAll(/`[^`\n]+`/g)].flatMap(([code]) => code.match(/[\w$]+/g) ?? []));
  for (const key of keys) assert.ok(words.has(key), key);
});

test('the reference names every default', () => {
  for (const value of Object.values(DEFAULTS)) assert.ok(reference.includes(`\`${value}\``), String(value));
});

test('the reference names every example', () => {
  for (const file of readdirSync(FOLDER)) {
    if (!file.endsWith('.md') && !file.endsWith('.schema.json')) assert.ok(reference.includes(`(${file})`), file);
  }
});

/** `yaml` is a whole config; `yaml fragment` is one or more top-level keys of one. */
const BLOCK = /^```(yaml[^\n]*)\n(.*?)^```$/gms;

test('every block of YAML in the reference is right', () => {
  const blocks = [...reference.matchAll(BLOCK)];
  assert.ok(blocks.length >= 3);
  for (const [, kind, text = ''] of blocks) {
    assert.ok(kind === 'yaml' || kind === 'yaml fragment', kind);
    assert.deepEqual(problemsOf(kind === 'yaml' ? text : complete(text)), [], text);
  }
});

function complete(fragment: string): string {
  const parts = [fragment.includes('authorization_servers:') ? '' : SERVER, fragment.includes('routes:') ? '' : ROUTE];
  return `version: 1\n${fragment}${parts.join('')}`;
}

test('requests go where the reference says', () => {
  const rows = [...reference.matchAll(/^\| `(\/\S*)` +\| `(https\S+)` +\| `(\S+)` +\| `(\S+)` +\|$/gm)];
  assert.ok(rows.length >= 7);
  for (const [row, path, upstream, request = '', goesTo] of rows) {
    const { routes } = configOf(
      `version: 1\nroutes:\n  - { name: a, match: { path: ${path} }, upstream: "${upstream}", credential: none }\n`,
    );
    const target = parseRequestTarget(request, ['127.0.0.1:8180']);
    const route = createRouteTable(routes).match(target);
    assert.ok(route !== undefined, row);
    assert.equal(route.upstream.origin + upstreamPath(route, target), goesTo, row);
  }
});
