import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/error-catalogue.ts';
import { CONSENT_REFUSAL, INTERACTION, modernCall } from '../harness/consent.ts';
import { CANARY, provokeProblem, provokeUnlogged } from '../harness/expected-problem.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import type { Fault } from '../harness/faults.ts';

const INVALID_TOKEN = 'Bearer error="invalid_token"';
const CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';

interface Refusal {
  when: string;
  status?: number;
  body: unknown;
  code: ErrorCode;
  challenge?: string;
}

const REFUSALS: Refusal[] = [
  {
    when: 'invalid_grant',
    body: { error: 'invalid_grant', error_description: CANARY },
    code: 'ERR_SUBJECT_TOKEN_INVALID',
    challenge: INVALID_TOKEN,
  },
  {
    when: 'interaction_required with claims',
    body: { error: 'interaction_required', error_description: CANARY, claims: CLAIMS },
    code: 'ERR_INTERACTION_REQUIRED',
    challenge: `Bearer error="insufficient_claims", claims="${Buffer.from(CLAIMS).toString('base64')}"`,
  },
  {
    when: 'interaction_required with malformed claims',
    body: { error: 'interaction_required', claims: CANARY },
    code: 'ERR_SUBJECT_TOKEN_INVALID',
    challenge: INVALID_TOKEN,
  },
  {
    when: 'interaction_required with claims too long for a header',
    body: { error: 'interaction_required', claims: JSON.stringify({ access_token: { acrs: 'x'.repeat(100_000) } }) },
    code: 'ERR_SUBJECT_TOKEN_INVALID',
    challenge: INVALID_TOKEN,
  },
  {
    when: 'insufficient_user_authentication',
    body: { error: 'insufficient_user_authentication', error_description: CANARY, acr_values: 'mfa', max_age: 5 },
    code: 'ERR_INTERACTION_REQUIRED',
    challenge: 'Bearer error="insufficient_user_authentication", acr_values="mfa", max_age="5"',
  },
  {
    when: 'invalid_target',
    body: { error: 'invalid_target', error_description: CANARY },
    code: 'ERR_EXCHANGE_REFUSED',
  },
  {
    when: 'invalid_client',
    status: 401,
    body: { error: 'invalid_client', error_description: CANARY },
    code: 'ERR_CLIENT_REFUSED',
  },
  { when: 'a 404 in HTML', status: 404, body: `<h1>${CANARY}</h1>`, code: 'ERR_STS_RESPONSE_INVALID' },
];

/** Refusals that are cached for the subject token. The others concern our client and are not cached. */
const CACHED: readonly ErrorCode[] = ['ERR_SUBJECT_TOKEN_INVALID', 'ERR_INTERACTION_REQUIRED', 'ERR_EXCHANGE_REFUSED'];

test('maps each refusal of an authorization server to an error code', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const { authorizationServer } = setup;
  const logChecks: (() => Promise<void>)[] = [];

  for (const { when, status = 400, body, code, challenge } of REFUSALS) {
    await t.test(`returns ${code} for ${when}`, async () => {
      const behaviour: Fault = { kind: 'response', status, body };
      authorizationServer.queue.push(behaviour);
      const headers = await setup.bearer();
      const expected = { code, ...(challenge === undefined ? {} : { challenge }) };
      const first = await provokeUnlogged(setup, { headers }, { ...expected, failedExchanges: 1 });
      logChecks.push(first.checkLog, async () => {
        const exchange = await setup.cambist.waitForLog(
          ({ msg, error: logged, request_id }) =>
            msg === 'exchange' && logged === code && request_id === first.response.requestId,
        );
        assert.equal(exchange.authorization_server, 'local');
        assert.equal(exchange.result, 'failure');
      });

      if (!CACHED.includes(code)) {
        assert.equal((await setup.call({ headers })).status, 200, 'the next request exchanges the same token again');
        return;
      }
      const again = await provokeUnlogged(setup, { headers }, expected);
      assert.equal(again.response.status, first.response.status);
      logChecks.push(again.checkLog, async () => {
        const line = setup.cambist.logs().find(({ request_id }) => request_id === again.response.requestId);
        assert.equal(line?.cache, 'negative');
      });
      const others = await setup.call({ headers: await setup.bearer() });
      assert.equal(others.status, 200, 'the refusal does not affect another token');
    });
  }

  await t.test('logs each refusal', async () => {
    for (const checkLog of logChecks) await checkLog();
  });
});

test('returns ERR_CONSENT_REQUIRED when the user must consent, and no URL of a host that is not listed', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  setup.authorizationServer.behaviour = CONSENT_REFUSAL;
  const headers = await setup.bearer();
  const response = await provokeProblem(setup, { headers }, { code: 'ERR_CONSENT_REQUIRED', failedExchanges: 1 });
  assert.equal(JSON.parse(response.text).interaction_uri, undefined);
  assert.ok(!setup.cambist.stdout().includes('opaque/path'));
});

test('returns ERR_REQUEST_STATE_INVALID for a request state that cambist did not seal', async (t) => {
  const setup = await startFakeSetup({ change: (config) => ({ ...config, interaction: INTERACTION }) });
  t.after(setup.close);
  const { headers, body } = modernCall({ params: { name: 'list', requestState: 'cambist-consent.1.AAAA' } });
  const call = { headers: { ...headers, ...(await setup.bearer()) }, body };
  await provokeProblem(setup, call, { code: 'ERR_REQUEST_STATE_INVALID' });
});
