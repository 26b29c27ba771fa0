import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { USAGES } from '../../../src/commands/usages.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { FINDING_CODES } from '../../../src/doctor/finding.ts';
import { describeError, ERROR_CODES } from '../../../src/error-catalogue.ts';
import { createCounts } from '../../../src/observability/counts.ts';
import { createMetrics } from '../../../src/observability/metrics.ts';
import { CACHE_RESULTS, EVICTION_REASONS } from '../../../src/observability/token-observer.ts';
import { configOf } from '../../harness/app.ts';
import { codeWords, fencedBlocks, tableRows } from '../../harness/markdown.ts';
import { EMPTY_SOURCES } from '../../harness/metric-sources.ts';
import { listPages } from '../../harness/pages.ts';
import { liveMetrics } from '../deploy/dashboard.ts';

const readme = readFileSync('README.md', 'utf8');
const errors = readFileSync('config/errors.md', 'utf8');
const metrics = readFileSync('config/metrics.md', 'utf8');
const doctor = readFileSync('config/doctor.md', 'utf8');
const servers = readFileSync('config/authorization-servers.md', 'utf8');

test('config/errors.md lists every error code with its status', () => {
  const documented = tableRows(errors, '`code`').map(([status, code]) => `${codeWords(code ?? '')[0]} ${status}`);
  assert.deepEqual(documented.sort(), ERROR_CODES.map((code) => `${code} ${describeError(code).status}`).sort());
});

const INTROSPECTION = { authorization_server: 'idp', endpoint: 'https://idp/introspect' };

test('config/metrics.md lists every metric with its labels', async () => {
  const documented = ['request metric', 'exchange metric', 'metric of the process']
    .flatMap((head) => tableRows(metrics, `| ${head}`))
    .map(([name, labels]) => [name, labels].flatMap((cell) => codeWords(cell ?? '')));
  const counts = createCounts(Date.now);
  counts.serve(
    configOf({
      authorization_servers: {
        idp: {
          token_endpoint: 'https://idp/token',
          client_id: 'cambist',
          client_auth: { method: 'client_secret_post', client_secret: { file: '/secret' } },
        },
      },
      routes: [
        {
          name: 'tools',
          match: { path: '/' },
          upstream: 'https://tools/mcp',
          actor_token: { file: '/actor' },
          subject_token: { verify: { issuer: 'https://idp', audience: 'any', introspection: INTROSPECTION } },
          on_missing_subject: 'client_credentials',
        },
      ],
      forward_proxy: { connect: ['api.example.com:443'] },
      intercept: {},
    }),
  );
  counts.tokens.credentialRead('actor token of route "tools"', 1);
  const readiness = () => ({ ready: false, checks: { 'authorization_servers.idp': 'waiting' as const } });
  const audit = () => ({ written: 0, dropped: 0, writable: true });
  const text = await createMetrics('0', { ...EMPTY_SOURCES, counts, readiness, audit }).write();
  const registered = [...liveMetrics(text)]
    .filter(([name]) => name.startsWith('cambist_'))
    .map(([name, labels]) => [name, ...[...labels.keys()].filter((label) => label !== 'le')]);
  assert.deepEqual(documented.sort(), registered.sort());
});

test('README.md lists every command with the words of --help', () => {
  const documented = tableRows(readme, '| command').map(([call, does]) => [codeWords(call ?? '')[0], does]);
  const known = Object.entries(USAGES).map(([name, { does }]) => [name, does]);
  assert.deepEqual(documented, known);
});

test('config/metrics.md lists every cache result and every eviction reason', () => {
  const values = (head: string) => tableRows(metrics, `| ${head}`).flatMap(([value]) => codeWords(value ?? ''));
  assert.deepEqual(values('cache `result`'), [...CACHE_RESULTS]);
  assert.deepEqual(values('eviction `reason`'), [...EVICTION_REASONS]);
});

test('config/doctor.md lists every finding once', () => {
  const tables = [...doctor.matchAll(/^\| (\w+(?: \w+)* finding) +\|/gm)].map(([, head = '']) =>
    tableRows(doctor, `| ${head}`),
  );
  const documented = tables.flat().flatMap(([code]) => codeWords(code ?? ''));
  assert.deepEqual(documented.sort(), [...FINDING_CODES].sort());
});

test('config/common-mistakes.md covers every server that has a recipe', () => {
  const recipes = tableRows(servers, 'names the backend by').map(([server = '']) => server);
  const covered = readFileSync('config/common-mistakes.md', 'utf8');
  assert.deepEqual(
    recipes.filter((server) => !covered.includes(`\n## ${server}\n`)),
    ['two of them', 'another'],
  );
});

test('every config in the README is valid', () => {
  const blocks = fencedBlocks(readme, 'yaml');
  assert.ok(blocks.length > 0);
  for (const block of blocks) assert.deepEqual(parseConfig(block, 'README.md').problems, []);
});

test('every npm script that a page names exists', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  for (const file of listPages()) {
    const text = readFileSync(file, 'utf8');
    for (const [, name] of text.matchAll(/npm run ([a-z0-9:-]+)/g))
      assert.ok(name !== undefined && name in scripts, `${file}: npm run ${name}`);
  }
});
