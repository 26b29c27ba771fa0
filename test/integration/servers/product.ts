import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { FindingCode } from '../../../src/doctor/finding.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { tableRows } from '../../harness/pages.ts';
import { type Recipe, type SimulatedServer, type SimulationRules, startRecipe } from '../../harness/recipe.ts';
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

/** A finding of doctor, the mistake in the config or at the server, and the error of a call. */
type Misconfiguration = readonly [finding: FindingCode, change: Change, fix: RegExp, code?: ErrorCode];

interface Product {
  readonly name: string;
  readonly recipe: string;
  readonly rules: SimulationRules;
  /** An invalid token, and the error of a call with it. False: a test of its own has one. */
  readonly invalid?: readonly [token: string, code: ErrorCode] | false;
}

/**
 * Tests the recipe of a product, that doctor finds each mistake and its fix, and that the reference lists just these.
 * @param claims those of a valid token of a caller
 * @param received the token that the backend gets for it, or some of its claims; undefined: another test shows this
 */
export function testProduct(
  product: Product,
  claims: JWTPayload,
  received: string | JWTPayload | undefined,
  cases: readonly Misconfiguration[],
): void {
  const { invalid = ['made.up.token', 'ERR_SUBJECT_TOKEN_INVALID'] } = product;
  if (received !== undefined) {
    test(`gets a token for the backend from ${product.name} with its recipe`, async (t) => {
      const { server, call, ...recipe } = await startRecipe(t, product.recipe, product.rules);
      assert.equal((await call(await server.mint(claims))).status, 200);
      const got = recipe.received();
      assert.deepEqual(got, typeof received === 'string' ? received : { ...(got as JWTPayload), ...received });
    });
  }
  if (invalid !== false) {
    test(`refuses an invalid token at ${product.name}`, async (t) => {
      const { call, upstream } = await startRecipe(t, product.recipe, product.rules);
      assertProblem(await call(invalid[0]), invalid[1]);
      assert.equal(upstream.requests.length, 0);
    });
  }

  test(`finds no error if ${product.name} is set up for its recipe`, async (t) => {
    const recipe = await startRecipe(t, product.recipe, product.rules);
    const { findings } = await runDoctor(t, recipe.config, { token: await recipe.server.mint(claims) });
    assert.deepEqual(
      findings.filter(({ severity }) => severity === 'error'),
      [],
    );
  });

  const section = readFileSync(REFERENCE, 'utf8').split(`\n## ${product.name}\n`)[1] ?? '';
  const listed = tableRows(section, '| mistake').map(([mistake = '', found = '']) => ({ mistake, found }));
  for (const misconfiguration of cases) {
    const [finding, change, , code] = misconfiguration;
    const found = code === undefined ? finding : `${finding}, and returns ${code},`;
    const mistake = listed.find((row) => row.found === `\`${finding}\``)?.mistake;
    test(`finds ${found} with ${product.name}: ${mistake}`, (t) =>
      testOne(t, product, { token: claims, ...change }, misconfiguration));
  }

  test(`lists the findings for ${product.name} in the reference`, () => {
    const findings = new Set(cases.map(([finding]) => `\`${finding}\``));
    assert.deepEqual(listed.map(({ found }) => found).sort(), [...findings].sort());
  });
}

async function testOne(
  t: TestContext,
  product: Product,
  { token, ...change }: Change & { token: JWTPayload | string },
  [expected, , fix, code]: Misconfiguration,
): Promise<void> {
  const recipe = await startRecipe(t, product.recipe, change.rules ?? product.rules);
  const subjectToken = typeof token === 'string' ? token : await recipe.server.mint(token);
  const config = changedConfig(recipe, change);
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
