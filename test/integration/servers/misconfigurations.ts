import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { FindingCode } from '../../../src/doctor/finding.ts';
import type { ImitationRules } from '../../harness/imitation.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { codeWords, tableRows } from '../../harness/markdown.ts';
import { type Recipe, startRecipe } from '../../harness/recipe.ts';
import { runDoctor } from '../doctor-run.ts';

const REFERENCE = new URL('../../../config/common-mistakes.md', import.meta.url);

type Keys = Record<string, unknown>;
type Overlay = Keys | ((recipe: Recipe) => Keys);

/** Something that is set wrong, in the config or at the server, and what the doctor makes of it. */
export interface Misconfiguration {
  readonly when: string;
  /** Laid over the first route of the recipe, over its server, and in place of its defaults. */
  readonly route?: Overlay;
  readonly server?: Overlay;
  readonly defaults?: Overlay;
  /** The server as it is set up then. */
  readonly rules?: ImitationRules;
  /** The caller's token, or the claims of one of this server. */
  readonly token?: JWTPayload | string;
  readonly finding: FindingCode;
  readonly fix: RegExp;
}

export interface Make {
  /** As the reference calls it. */
  readonly name: string;
  /** Without `.yaml`. */
  readonly recipe: string;
  readonly rules: ImitationRules;
  /** Of a caller's token that is right. */
  readonly claims: JWTPayload;
}

/** Tests that the doctor names each cause and its fix, and that the reference lists just these for this make of server. */
export function testMisconfigurations(make: Make, cases: readonly Misconfiguration[]): void {
  test(`${make.name}: with the recipe and the server set up for it doctor finds nothing wrong`, async (t) => {
    const recipe = await startRecipe(t, make.recipe, make.rules);
    const { findings } = await runDoctor(t, recipe.config, { token: await recipe.server.mint(make.claims) });
    assert.deepEqual(
      findings.filter(({ severity }) => severity === 'error'),
      [],
    );
  });

  for (const wrong of cases) {
    test(`${make.name}, ${wrong.when}: doctor finds ${wrong.finding} and its fix`, (t) => testOne(t, make, wrong));
  }

  test(`${make.name}: the reference lists what doctor finds`, () => {
    const section = readFileSync(REFERENCE, 'utf8').split(`\n## ${make.name}\n`)[1] ?? '';
    const listed = tableRows(section, '| mistake').flatMap(([, found]) => codeWords(found ?? ''));
    assert.deepEqual(listed.sort(), [...new Set(cases.map(({ finding }) => finding))].sort());
  });
}

async function testOne(t: TestContext, make: Make, wrong: Misconfiguration): Promise<void> {
  const recipe = await startRecipe(t, make.recipe, wrong.rules ?? make.rules);
  const { token = make.claims } = wrong;
  const given = typeof token === 'string' ? token : await recipe.server.mint(token);
  const keys = (overlay: Overlay) => (typeof overlay === 'function' ? overlay(recipe) : overlay);
  const config = recipe.changed(keys(wrong.route ?? {}), keys(wrong.server ?? {}));
  if (wrong.defaults !== undefined) config.defaults = keys(wrong.defaults);
  const { findings, finding } = await runDoctor(t, config, { token: given });
  const problems = findings.filter(({ severity }) => severity !== 'ok');
  assert.equal(problems[0]?.code, wrong.finding, JSON.stringify(problems, null, 2));
  const others = problems.filter(({ severity, code }) => severity === 'error' && code !== wrong.finding);
  assert.deepEqual(others, [], 'one thing is wrong, and one is found');
  assert.match(finding(wrong.finding).fix ?? '', wrong.fix);
  const leaks = createLeakWatch();
  for (const secret of [given, recipe.server.clientSecret]) leaks.remember(secret);
  leaks.assertNoLeak({ findings: JSON.stringify(findings) });
}

/** A token of another issuer. */
export function foreignToken(claims: JWTPayload = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 300;
  return `${part({ alg: 'RS256' })}.${part({ iss: 'https://other.example.com', sub: 'alice', exp, ...claims })}.${'A'.repeat(86)}`;
}
