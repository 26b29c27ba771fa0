import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { z } from 'zod';
import type { Config } from '../../../src/config/config.ts';
import { HIDDEN } from '../../../src/config/hide-keys.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/config/problem.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { writtenConfig } from '../../../src/config/written-config.ts';
import type { ShowSource } from '../../../src/config/written-values.ts';
import { FULL } from './mutations.ts';
import { RARE, SHARED, WITH_SIGNALS } from './rare-configs.ts';

const FOLDER = new URL('../../../config/', import.meta.url);
const examples = readdirSync(FOLDER).filter((file) => /\.yaml$|^cambist\.json$/.test(file));

const TEXTS: readonly (readonly [name: string, text: string])[] = [
  ...examples.map((file) => [file, readFileSync(new URL(file, FOLDER), 'utf8')] as const),
  ['a config with nearly every key', JSON.stringify(FULL)],
  ['a config with the other keys', JSON.stringify(RARE)],
  ['a config with signals', JSON.stringify(WITH_SIGNALS)],
  ...SHARED.map((config, index) => [`shared cache ${index + 1}`, JSON.stringify(config)] as const),
];

const showAll: ShowSource = (source) => ('file' in source ? source.file : source.env);

function load(text: string): Config {
  const { config, problems } = parseConfig(text, '/etc/cambist/cambist.yaml');
  assert.ok(config, problems.map(formatProblem).join('\n'));
  return config;
}

/** Values that a file cannot have after they were hidden. */
function withoutHidden(config: Config): unknown {
  return JSON.parse(
    JSON.stringify(config, (key, value) => {
      if (key === 'extraParams') return value.map(([name]: [string]) => [name, HIDDEN]);
      if (key === 'tokenEndpoint' || key === 'jwksUri' || key === 'pollEndpoint') return value?.replace(/\?.*/, '');
      return value;
    }),
  );
}

/** Keys of a map that is one value. */
const SOURCES = new Set(['file', 'file env']);

/** The keys of a schema as paths. Entries of lists and maps are `*`. */
function keysOf(schema: unknown, path = ''): string[] {
  if (schema instanceof z.ZodOptional) return keysOf(schema.unwrap(), path);
  if (schema instanceof z.ZodArray) return keysOf(schema.element, `${path}.*`);
  if (schema instanceof z.ZodRecord) return keysOf(schema.valueType, `${path}.*`);
  if (!(schema instanceof z.ZodObject) || SOURCES.has(Object.keys(schema.shape).join(' '))) {
    return [path.replace(/(\.\*)+$/, '')];
  }
  return Object.entries(schema.shape).flatMap(([key, part]) => keysOf(part, path === '' ? key : `${path}.${key}`));
}

/** The paths of a value that are in the schema. */
function pathsOf(value: unknown, path = ''): string[] {
  if (value === undefined) return [];
  if (typeof value !== 'object' || value === null) return [path];
  const entries = Array.isArray(value) ? value.map((part) => ['*', part] as const) : Object.entries(value);
  return [
    path,
    ...entries.flatMap(([key, part]) => {
      const isNamed = path === 'authorization_servers' || path === 'signals.transmitters';
      return pathsOf(part, path === '' ? key : `${path}.${isNamed ? '*' : key}`);
    }),
  ];
}

/** `defaults` are merged into the routes. */
const LEFT_OUT = /^(\$schema|defaults\..*)$/;

for (const [name, text] of TEXTS) {
  test(`loads as the same config: ${name}`, () => {
    const config = load(text);
    const written = JSON.stringify(writtenConfig(config, showAll)).replaceAll(`?${HIDDEN}`, '');
    assert.deepEqual(withoutHidden(load(written)), withoutHidden(config));
  });
}

test('writes every key of the schema', () => {
  const written = new Set(TEXTS.flatMap(([, text]) => pathsOf(writtenConfig(load(text), showAll))));
  const missing = keysOf(configSchema).filter((path) => !LEFT_OUT.test(path) && !written.has(path));
  assert.deepEqual(missing, [], 'add the key to src/config/written-config.ts, and to this test or an example');
});

test('hides parameters, queries and parts of paths that could be a secret', () => {
  const secret = 's3cretPathSegment0123456789';
  const config = load(
    JSON.stringify({
      version: 1,
      authorization_servers: {
        main: {
          token_endpoint: `https://idp.example.com/${secret}/token?key=${secret}`,
          client_id: 'c',
          client_auth: { method: 'client_secret_basic', client_secret: { file: '/secret' } },
          extra_params: { api_key: secret },
        },
      },
      routes: [
        {
          name: 'a',
          match: { path: '/a' },
          upstream: `https://mcp.example.com/api/${secret}/mcp`,
          subject_token: {
            verify: {
              issuer: 'https://i.example.com',
              jwks_uri: `https://i.example.com/${secret}/k?a=${secret}`,
              introspection: { authorization_server: 'main', endpoint: `https://i.example.com/${secret}/i?${secret}` },
            },
          },
        },
      ],
    }),
  );
  const text = JSON.stringify(writtenConfig(config, showAll));
  assert.ok(!text.includes(secret), text);
  assert.match(text, /https:\/\/mcp\.example\.com\/api\/\[hidden\]\/mcp/);
  assert.match(text, /https:\/\/idp\.example\.com\/\[hidden\]\/token\?\[hidden\]/);
});
