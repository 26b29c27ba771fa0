import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONSENT_REFUSAL, CONSENT_URL, legacyCall, modernCall } from '../harness/consent.ts';
import { eventually } from '../harness/eventually.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';
import { assertConsentProblem, forwarded, retryOf, startConsent, stateOf } from './consent-messages.ts';

test('asks a client of 2026-07-28 for the consent, and forwards its retry without the added fields', async (t) => {
  const setup = await startConsent(t);
  const { send, consent, upstream, app } = setup;
  const first = modernCall({ params: { name: 'list', arguments: { big: 1 } } });
  // Numbers that a parser would change.
  const message = { ...first, body: first.body.replace('"big":1', '"big":12345678901234567890, "e" : 1.50e+3') };
  const asked = await send(message);
  assert.equal(asked.status, 200);
  assert.equal(asked.headers['content-type'], 'application/json');
  assert.equal(asked.headers['cache-control'], 'no-store');
  const { jsonrpc, id, result } = JSON.parse(asked.text);
  assert.deepEqual([jsonrpc, id, result.resultType], ['2.0', 1, 'input_required']);
  assert.deepEqual(result.inputRequests, {
    'cambist-consent': {
      method: 'elicitation/create',
      params: {
        mode: 'url',
        url: CONSENT_URL,
        message: 'Your consent is needed before mcp.github.example can be used.',
      },
    },
  });
  assert.match(result.requestState, /^cambist-consent\.1\.[A-Za-z0-9_-]+$/);
  assert.equal(upstream.requests.length, 0);

  consent();
  const fields = `,"requestState":"${result.requestState}","inputResponses":{"cambist-consent":{"action":"accept"}}}}`;
  const retry = { ...message, body: `${message.body.slice(0, -2)}${fields}` };
  const { status, text } = await send(retry);
  assert.equal(status, 200);
  assert.equal(JSON.parse(text).body, message.body);
  assert.equal(await forwarded(setup), message.body);
  const sent = upstream.requests[0]?.rawHeaders ?? [];
  assert.equal(sent[sent.findIndex((name) => name.toLowerCase() === 'content-length') + 1], `${message.body.length}`);

  const [line] = app.logs.filter(({ msg, error }) => msg === 'request' && error === 'ERR_CONSENT_REQUIRED');
  assert.deepEqual([line?.status, line?.outcome], [200, 'refused']);
  for (const secret of [CONSENT_URL, 'opaque/path', result.requestState]) {
    assert.ok(!app.logText().includes(secret), secret);
    assert.ok(!(await app.metrics()).includes(secret), secret);
  }
  assert.ok(sumSamples(await app.metrics(), 'cambist_failures_total', { error: 'ERR_CONSENT_REQUIRED' }) >= 1);
});

test('does not hold off a caller who has just consented', async (t) => {
  const setup = await startConsent(t);
  const { send, consent, authorizationServer } = setup;
  const message = modernCall();
  const state = await stateOf(setup, message);
  // Other requests meet the remembered refusal.
  await send(message);
  assert.equal(authorizationServer.requests.length, 1);
  consent();
  assert.equal((await send(retryOf(message, state))).status, 200);
  assert.equal(authorizationServer.requests.length, 2);
});

test('a client without request state is held off for a moment only', async (t) => {
  const setup = await startConsent(t);
  assert.equal(JSON.parse((await setup.send(legacyCall())).text).error.code, -32042);
  setup.consent();
  await eventually('the consent counts', async () => (await setup.send(legacyCall())).text.includes('rawHeaders'));
});

test('asks no further when the user declines', async (t) => {
  const setup = await startConsent(t);
  const message = modernCall();
  const state = await stateOf(setup, message);
  for (const action of ['decline', 'cancel']) {
    const response = await setup.send(retryOf(message, state, action));
    assertProblem(response, 'ERR_CONSENT_REQUIRED');
  }
});

test('asks again when the user has not consented yet', async (t) => {
  const setup = await startConsent(t);
  const message = modernCall();
  const state = await stateOf(setup, message);
  assert.notEqual(await stateOf(setup, retryOf(message, state)), state);
  assert.equal(setup.authorizationServer.requests.length, 2);
});

test('responds to a client of 2025-11-25 with the error -32042', async (t) => {
  const { send } = await startConsent(t);
  const { status, headers, text } = await send(legacyCall({ id: 'x' }));
  assert.equal(status, 200);
  assert.equal(headers['content-type'], 'application/json');
  const { id, error } = JSON.parse(text);
  assert.deepEqual([id, error.code], ['x', -32042]);
  assert.match(error.message, /^ERR_CONSENT_REQUIRED: /);
  assert.ok(error.message.endsWith(`: open ${CONSENT_URL}`), error.message);
  const [{ elicitationId, ...elicitation }, ...more] = error.data.elicitations;
  assert.deepEqual(more, []);
  assert.match(elicitationId, /^[0-9a-f-]{36}$/);
  assert.deepEqual(elicitation, {
    mode: 'url',
    url: CONSENT_URL,
    message: 'Your consent is needed before mcp.github.example can be used.',
  });
});

test('responds to initialize with -32042 only where the message declares the capability', async (t) => {
  const { send } = await startConsent(t);
  const initialize = (capabilities: object, protocolVersion = '2025-11-25') => {
    const params = { protocolVersion, capabilities, clientInfo: { name: 'c', version: '1' } };
    const { 'mcp-protocol-version': _none, ...headers } = legacyCall().headers;
    return { ...legacyCall({ method: 'initialize', params }), headers };
  };
  assert.equal(JSON.parse((await send(initialize({ elicitation: { url: {} } }))).text).error.code, -32042);
  for (const message of [
    initialize({}),
    initialize({ elicitation: {} }),
    initialize({ elicitation: { form: {} } }),
    initialize({ elicitation: { url: {} } }, '2025-06-18'),
  ]) {
    const response = await send(message);
    assertConsentProblem(response);
  }
});

test('responds with 403 and interaction_uri to every other request', async (t) => {
  const { send, app, authorization } = await startConsent(t);
  const plain = await call(`${app.url}/github`, { headers: { authorization } });
  assertConsentProblem(plain);
  assert.equal(plain.headers['content-type'], 'application/problem+json');
  assert.equal(plain.headers['cache-control'], 'no-store');
  const { 'mcp-protocol-version': _none, ...unversioned } = legacyCall().headers;
  for (const message of [
    modernCall({ method: 'tools/list', params: {} }),
    modernCall({ capabilities: {} }),
    modernCall({ capabilities: { elicitation: {} } }),
    modernCall({ capabilities: { elicitation: { form: {} } } }),
    { ...legacyCall(), headers: unversioned },
    { ...legacyCall(), headers: { ...unversioned, 'mcp-protocol-version': '2025-06-18' } },
    { ...legacyCall(), body: '{"jsonrpc":"2.0","method":"notifications/initialized"}' },
    { ...legacyCall(), body: `[${legacyCall().body}]` },
  ]) {
    assertConsentProblem(await send(message));
  }
});

test('keeps a large request to the problem, because its state would be lost', async (t) => {
  const { send } = await startConsent(t, { route: { retry_body_limit: '1KiB' } });
  const large = modernCall({ params: { name: 'list', arguments: { text: 'x'.repeat(60_000) } } });
  assertConsentProblem(await send(large));
  const fits = modernCall({ params: { name: 'list', arguments: { text: 'x'.repeat(700) } } });
  assert.equal(JSON.parse((await send(fits)).text).result.resultType, 'input_required');
});

test('passes on no URL of a host that is not listed', async (t) => {
  const setup = await startConsent(t, { top: { interaction: { hosts: ['other.example.com'] } } });
  for (const message of [modernCall(), legacyCall()]) {
    const response = await setup.send(message);
    assertProblem(response, 'ERR_CONSENT_REQUIRED');
    assert.ok(!response.text.includes('consent.example.com'));
  }
  assert.match(setup.app.logText(), /its host \\"consent\.example\.com\\" is not in interaction\.hosts/);
  assert.ok(!setup.app.logText().includes('opaque/path'));
});

test("uses the route's consent_url where the server names none", async (t) => {
  const page = 'https://app.example.com/connect?provider=github';
  const setup = await startConsent(t, { route: { consent_url: page }, top: {} });
  setup.authorizationServer.behaviour = {
    kind: 'response',
    status: 401,
    body: { error: 'federated_connection_refresh_token_not_found', error_description: 'not found' },
  };
  const { error } = JSON.parse((await setup.send(legacyCall())).text);
  assert.equal(error.data.elicitations[0].url, page);
});

test('shows the URL to the caller that it concerns, and to no other', async (t) => {
  const { app, authorizationServer, authorization } = await startConsent(t);
  authorizationServer.behaviour = ({ form }) =>
    form.get('subject_token') === authorization.slice('Bearer '.length) ? CONSENT_REFUSAL : { kind: 'issue' };
  const bob = `Bearer ${await authorizationServer.mint({ subject: 'bob' })}`;
  const responses = await Promise.all(
    [authorization, bob, authorization, bob].map((token) =>
      call(`${app.url}/github`, { headers: { authorization: token } }),
    ),
  );
  assert.deepEqual(
    responses.map(({ text }) => text.includes(CONSENT_URL)),
    [true, false, true, false],
  );
});

test('challenges the caller to sign in again as RFC 9470 says', async (t) => {
  const setup = await startConsent(t);
  setup.authorizationServer.behaviour = {
    kind: 'response',
    status: 400,
    body: { error: 'insufficient_user_authentication', acr_values: 'urn:mfa urn:phr', max_age: 5 },
  };
  const response = await setup.send(modernCall());
  assertProblem(response, 'ERR_INTERACTION_REQUIRED');
  const challenge = 'Bearer error="insufficient_user_authentication", acr_values="urn:mfa urn:phr", max_age="5"';
  assert.equal(response.headers['www-authenticate'], challenge);
});
