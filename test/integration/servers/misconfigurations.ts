import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { FindingCode } from '../../../src/doctor/finding.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { codeWords, tableRows } from '../../harness/pages.ts';
import { type Recipe, type SimulationRules, startRecipe } from '../../harness/recipe.ts';
import { runDoctor } from '../doctor-run.ts';

const REFERENCE = new URL('../../../config/common-mistakes.md', import.meta.url);

type Keys = Record<string, unknown>;
type Overlay = Keys | ((recipe: Recipe) => Keys);

interface Change {
  /** Keys that override those of the recipe's first route and of its server, or replace its defaults. */
  readonly route?: Overlay;
  readonly server?: Overlay;
  readonly defaults?: Overlay;
  readonly rules?: SimulationRules;
  /** The caller's token, or the claims of a token of this server. */
  readonly token?: JWTPayload | string;
}

/** A mistake in the config or at the server, what doctor reports of it, and the error of a call. */
export type Misconfiguration = readonly [
  when: string,
  change: Change,
  finding: FindingCode,
  fix: RegExp,
  code?: ErrorCode,
];

export interface Product {
  readonly name: string;
  readonly recipe: string;
  readonly rules: SimulationRules;
  /** The claims of a valid token of a caller. */
  readonly claims: JWTPayload;
  /** An invalid token, and the error of a call with it. False: a test of its own has one. */
  readonly invalid?: readonly [token: string, code: ErrorCode] | false;
}

/** Tests that doctor finds each mistake and its fix, and that the reference lists exactly these findings. */
export function testMisconfigurations(product: Product, cases: readonly Misconfiguration[]): void {
  const { invalid = ['made.up.token', 'ERR_SUBJECT_TOKEN_INVALID'] } = product;
  if (invalid !== false) {
    test(`refuses an invalid token at ${product.name}`, async (t) => {
      const { call, upstream } = await startRecipe(t, product.recipe, product.rules);
      assertProblem(await call(invalid[0]), invalid[1]);
      assert.equal(upstream.requests.length, 0);
    });
  }

  test(`finds no error if ${product.name} is set up for its recipe`, async (t) => {
    const recipe = await startRecipe(t, product.recipe, product.rules);
    const { findings } = await runDoctor(t, recipe.config, { token: await recipe.server.mint(product.claims) });
    assert.deepEqual(
      findings.filter(({ severity }) => severity === 'error'),
      [],
    );
  });

  for (const mistake of cases) {
    const [when, , finding, , code] = mistake;
    const found = code === undefined ? finding : `${finding}, and returns ${code},`;
    test(`finds ${found} with ${product.name} if ${when}`, (t) => testOne(t, product, mistake));
  }

  test(`lists the findings for ${product.name} in the reference`, () => {
    const section = readFileSync(REFERENCE, 'utf8').split(`\n## ${product.name}\n`)[1] ?? '';
    const listed = tableRows(section, '| mistake').flatMap(([, found]) => codeWords(found ?? ''));
    assert.deepEqual(listed.sort(), [...new Set(cases.map(([, , finding]) => finding))].sort());
  });
}

async function testOne(
  t: TestContext,
  product: Product,
  [, change, expected, fix, code]: Misconfiguration,
): Promise<void> {
  const recipe = await startRecipe(t, product.recipe, change.rules ?? product.rules);
  const { token = product.claims } = change;
  const subjectToken = typeof token === 'string' ? token : await recipe.server.mint(token);
  const keys = (overlay: Overlay) => (typeof overlay === 'function' ? overlay(recipe) : overlay);
  const config = recipe.changed(keys(change.route ?? {}), keys(change.server ?? {}));
  if (change.defaults !== undefined) config.defaults = keys(change.defaults);
  if (code !== undefined) {
    recipe.app.reloadTo(config);
    assertProblem(await recipe.call(subjectToken), code);
    assert.equal(recipe.upstream.requests.length, 0);
  }
  const { findings, finding } = await runDoctor(t, config, { token: subjectToken });
  const problems = findings.filter(({ severity }) => severity !== 'ok');
  assert.equal(problems[0]?.code, expected, JSON.stringify(problems, null, 2));
  const others = problems.filter((problem) => problem.severity === 'error' && problem.code !== expected);
  assert.deepEqual(others, [], 'doctor reports one error for one mistake');
  assert.match(finding(expected).fix ?? '', fix);
  const leaks = createLeakWatch();
  for (const secret of [subjectToken, recipe.server.clientSecret]) leaks.remember(secret);
  leaks.assertNoLeak({ findings: JSON.stringify(findings) });
}

/** A token of another issuer, with an invalid signature. */
export function foreignToken(claims: JWTPayload = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 300;
  return `${part({ alg: 'RS256' })}.${part({ iss: 'https://other.example.com', sub: 'alice', exp, ...claims })}.${'A'.repeat(86)}`;
}
