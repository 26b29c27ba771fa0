import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { OPTION_NAMES } from '../../../src/kubernetes/options.ts';
import { parseDocuments, readDeployFile } from './manifests.ts';

interface Schema {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
}

const readChartFile = (name: string): string => readDeployFile(`helm/cambist/${name}`);
const [values] = parseDocuments<object>(readChartFile('values.yaml'));
const schema = JSON.parse(readChartFile('values.schema.json')) as Schema & { $defs: Record<string, Schema> };
const packageVersion = (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;

const resolved = (part: Schema): Schema => schema.$defs[part.$ref?.replace('#/$defs/', '') ?? ''] ?? part;

test('chart and app have the version of the package', () => {
  const [chart] = parseDocuments<{ version: string; appVersion: string }>(readChartFile('Chart.yaml'));
  assert.deepEqual([chart?.version, chart?.appVersion], [packageVersion, packageVersion]);
});

test('the schema of the values contains the config\'s schema: if this fails, run "npm run schema"', () => {
  assert.deepEqual(schema.$defs.config, JSON.parse(readFileSync('config/cambist.schema.json', 'utf8')));
});

test('the schema has every option of an injection except the image, which has its own values', () => {
  const options = Object.keys(resolved(schema.properties?.webhook ?? {}).properties?.injection?.properties ?? {});
  assert.deepEqual(options.sort(), OPTION_NAMES.filter((name) => name !== 'image').sort());
});

test('the default values lack only the image', () => {
  const validate = new Ajv2020({ strict: false, allErrors: true }).compile(schema);
  assert.equal(validate(values), false);
  assert.deepEqual(
    validate.errors?.map(({ instancePath }) => instancePath),
    ['/image/repository'],
  );
});

test('values.yaml and the schema have the same values', () => {
  assertSameKeys(values, schema, '');
});

/** Maps whose keys the user chooses. */
const OPEN = ['/webhook/injection', '/gateway/config', '/gateway/files'];

function assertSameKeys(value: unknown, part: Schema, path: string): void {
  const { properties } = resolved(part);
  if (properties === undefined || typeof value !== 'object' || value === null || OPEN.includes(path)) return;
  // helm defines "global".
  const known = Object.keys(properties).filter((key) => key !== 'global');
  assert.deepEqual(Object.keys(value).sort(), known.sort(), path);
  for (const [key, inner] of Object.entries(value)) assertSameKeys(inner, properties[key] ?? {}, `${path}/${key}`);
}

test('every paragraph of values.yaml has a comment', () => {
  const paragraphs = readChartFile('values.yaml').split(/\n\n/);
  assert.ok(paragraphs.length > 20);
  for (const paragraph of paragraphs) assert.match(paragraph, /^ *# [A-Z"]/m);
});
