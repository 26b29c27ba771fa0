import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Record<string, unknown>;
}

interface Workflow {
  readonly on: string | Record<string, unknown>;
  readonly permissions: Record<string, string>;
  readonly jobs: Record<string, { readonly permissions?: Record<string, string>; readonly steps: readonly Step[] }>;
}

const FOLDER = '.github/workflows';
const texts = new Map(readdirSync(FOLDER).map((name) => [name, readFileSync(join(FOLDER, name), 'utf8')]));
const workflows = new Map([...texts].map(([name, text]) => [name, parse(text, { strict: true }) as Workflow]));

/** Everything that a workflow may write. Each job has what its steps need, and no more. */
const WRITES: Record<string, readonly string[]> = {
  'codeql.yml': ['analyze: security-events'],
  'dependencies.yml': [],
  'release.yml': ['image: contents', 'image: id-token', 'image: packages', 'package: id-token'],
};

const writable = (permissions: Record<string, string> = {}): string[] =>
  Object.keys(permissions).filter((scope) => permissions[scope] === 'write');

for (const [name, { on, permissions, jobs }] of workflows) {
  const steps = Object.values(jobs).flatMap((job) => job.steps);

  test(`${name} pins every action to a commit, and names its version`, () => {
    const actions = steps.flatMap(({ uses }) => uses ?? []);
    for (const uses of actions) assert.match(uses, /^[\w./-]+@[0-9a-f]{40}$/);
    const named = [...(texts.get(name) ?? '').matchAll(/uses: ([\w./-]+@[0-9a-f]{40}) # v\d/g)].map(([, uses]) => uses);
    assert.deepEqual(named, actions);
  });

  test(`${name} does not run code of a pull request with the rights of the repository`, () => {
    const events = typeof on === 'string' ? [on] : Object.keys(on);
    for (const event of events) assert.ok(['pull_request', 'push', 'schedule'].includes(event), event);
  });

  test(`${name} grants writing only to the jobs that need it, and leaves no credentials in the checkout`, () => {
    assert.deepEqual(writable(permissions), []);
    const writes = Object.entries(jobs).flatMap(([job, { permissions: own }]) => {
      return writable(own).map((scope) => `${job}: ${scope}`);
    });
    assert.deepEqual(writes.sort(), WRITES[name]);
    for (const step of steps) {
      if (step.uses?.startsWith('actions/checkout@')) assert.equal(step.with?.['persist-credentials'], false);
    }
  });

  test(`${name} runs no install script, and inserts no text of the event into a script`, () => {
    for (const { run = '' } of steps) {
      assert.doesNotMatch(run, /\$\{\{/);
      if (/\bnpm ci\b/.test(run)) assert.match(run, /--ignore-scripts/);
    }
  });
}

test('the release publishes with provenance, and signs the digest of the image', () => {
  const steps = Object.values(workflows.get('release.yml')?.jobs ?? {}).flatMap((job) => job.steps);
  const scripts = steps.map(({ run = '' }) => run).join('\n');
  assert.match(scripts, /npm publish .*--provenance/);
  assert.match(scripts, /cosign sign --yes "\$IMAGE@\$DIGEST"/);
  assert.match(scripts, /npm audit signatures/);
  assert.match(scripts, /deploy\/sbom\.mjs/);
});
