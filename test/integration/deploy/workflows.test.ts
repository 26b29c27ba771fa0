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
  readonly permissions: Record<string, string>;
  readonly jobs: Record<string, { readonly permissions?: Record<string, string>; readonly steps: readonly Step[] }>;
}

const FOLDER = '.github/workflows';
const workflows = new Map(
  readdirSync(FOLDER).map((name) => [name, parse(readFileSync(join(FOLDER, name), 'utf8')) as Workflow]),
);

for (const [name, { permissions, jobs }] of workflows) {
  const steps = Object.values(jobs).flatMap((job) => job.steps);

  test(`${name} pins every action to a commit`, () => {
    for (const { uses } of steps) if (uses !== undefined) assert.match(uses, /^[\w./-]+@[0-9a-f]{40}$/);
  });

  test(`${name} grants writing only to the jobs that need it, and leaves no credentials in the checkout`, () => {
    assert.ok(!Object.values(permissions).includes('write'));
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
