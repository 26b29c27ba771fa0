import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { FindingCode } from '../../../src/doctor/finding.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { tableRows } from '../../harness/pages.ts';
import { type SimulatedServer, type SimulationRules, startRecipe } from '../../harness/recipe.ts';
import { runDoctor } from '../doctor-run.ts';

const REFERENCE = new URL('../../../config/common-mistakes.md', import.meta.url);

type Keys = Record<string, unknown>;

interface Change {
  /** Keys that override those of the first route, of the server or of its `client_auth`, or that replace the defaults. */
  readonly route?: Keys;
  readonly server?: Keys | ((server: SimulatedServer) => Keys);
  readonly clientAuth?: Keys;
  readonly defaults?: Keys;
  readonly rules?: SimulationRules;
  /** The caller's token, or the claims of a token of this server. */
  readonly token?: JWTPayload | string;
}

/** A finding of doctor, the mistake in the config or at the server, and the fix. */
type Mistake = readonly [finding: FindingCode, change: Change, fix: RegExp];

/** Mistakes by the error of a call. `doctor`: no call is sent. */
type Mistakes = Partial<Record<ErrorCode | 'doctor', readonly Mistake[]>>;

interface Product {
  readonly recipe: string;
  readonly rules: SimulationRules;
  /** Those of a valid token of a caller. */
  readonly claims: JWTPayload;
  /** The token that the backend gets for it, or some of its claims. The default: another test shows this. */
  readonly received?: string | JWTPayload;
  /** An invalid token, and the error of a call with it. False: a test of its own has one. */
  readonly invalid?: readonly [token: string, code: ErrorCode] | false;
}

/** Tests the recipe of a product, that doctor finds each mistake and its fix, and that the reference lists just these. */
export function testProduct(product: Product, name: string, mistakes: Mistakes): void {
  const { claims, received, invalid = ['made.up.token', 'ERR_SUBJECT_TOKEN_INVALID'] } = product;
  test(`the recipe of ${name} gets a token for the backend, none for an invalid one, and no error of doctor`, async (t) => {
    const recipe = await startRecipe(t, product.recipe, product.rules);
    if (invalid !== false) {
      assertProblem(await recipe.call(invalid[0]), invalid[1]);
      assert.equal(recipe.upstream.requests.length, 0);
    }
    const token = await recipe.server.mint(claims);
    if (received !== undefined) {
      assert.equal((await recipe.call(token)).status, 200);
      const got = recipe.received();
      assert.deepEqual(got, typeof received === 'string' ? received : { ...(got as JWTPayload), ...received });
    }
    const { findings } = await runDoctor(t, recipe.config, { token });
    const errors = findings.filter(({ severity }) => severity === 'error');
    assert.deepEqual(errors, []);
  });

  const section = readFileSync(REFERENCE, 'utf8').split(`\n## ${name}\n`)[1] ?? '';
  const listed = tableRows(section, '| mistake').map(([mistake = '', found = '']) => ({ mistake, found }));
  for (const [code, cases = []] of Object.entries(mistakes)) {
    for (const [finding, change, fix] of cases) {
      const row = listed.find(({ found }) => found === `\`${finding}\``);
      test(`finds ${finding} (${code}) with ${name}: ${row?.mistake}`, async (t) => {
        const recipe = await startRecipe(t, product.recipe, change.rules ?? product.rules);
        const { token = claims } = change;
        const subjectToken = typeof token === 'string' ? token : await recipe.server.mint(token);
        const config = changedConfig(recipe, change);
        if (code !== 'doctor') {
          recipe.app.reloadTo(config);
          assertProblem(await recipe.call(subjectToken), code as ErrorCode);
          assert.equal(recipe.upstream.requests.length, 0);
        }
        const report = await runDoctor(t, config, { token: subjectToken });
        const problems = report.findings.filter(({ severity }) => severity !== 'ok');
        assert.equal(problems[0]?.code, finding, JSON.stringify(problems, null, 2));
        const others = problems.filter((problem) => problem.severity === 'error' && problem.code !== finding);
        assert.deepEqual(others, [], 'doctor reports one error for one mistake');
        assert.match(report.finding(finding).fix ?? '', fix);
        const leaks = createLeakWatch();
        for (const secret of [subjectToken, recipe.server.clientSecret]) leaks.remember(secret);
        leaks.assertNoLeak({ findings: JSON.stringify(report.findings) });
      });
    }
  }

  test(`lists the findings for ${name} in the reference`, () => {
    const findings = new Set(Object.values(mistakes).flatMap((cases) => cases.map(([finding]) => `\`${finding}\``)));
    assert.deepEqual(listed.map(({ found }) => found).sort(), [...findings].sort());
  });
}

type Recipe = Awaited<ReturnType<typeof startRecipe>>;

function changedConfig({ config, server }: Recipe, { route, server: keys = {}, clientAuth, defaults }: Change) {
  const [first, ...others] = config.routes;
  const [[name, entry] = ['', {}], ...more] = Object.entries(config.authorization_servers);
  const changed = {
    ...entry,
    ...(typeof keys === 'function' ? keys(server) : keys),
    ...(clientAuth && { client_auth: { ...(entry.client_auth as object), ...clientAuth } }),
  };
  return {
    ...config,
    authorization_servers: { [name]: changed, ...Object.fromEntries(more) },
    routes: [{ ...first, ...route }, ...others],
    defaults: defaults ?? config.defaults,
  };
}

/** A token of another issuer, with an invalid signature. */
export function foreignToken(claims: JWTPayload = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 300;
  return `${part({ alg: 'RS256' })}.${part({ iss: 'https://other.example.com', sub: 'alice', exp, ...claims })}.${'A'.repeat(86)}`;
}
