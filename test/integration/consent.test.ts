import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { CONSENT_REFUSAL, CONSENT_URL, INTERACTION, legacyCall, modernCall } from '../harness/consent.ts';
import { eventually } from '../harness/eventually.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { assertProblem, call, problemOf } from '../harness/http-call.ts';

type Message = ReturnType<typeof legacyCall>;

/** A gateway whose authorization server wants the user's consent until `consent` is called. */
async function startConsent(t: TestContext, { route = {}, top, ...options }: GatewayOptions = {}) {
  const gateway = await startGateway(t, {
    ...options,
    route: { resource: 'https://mcp.github.example/mcp', ...route },
    top: top ?? { interaction: INTERACTION },
  });
  gateway.authorizationServer.behaviour = CONSENT_REFUSAL;
  return {
    ...gateway,
    consent: () => {
      gateway.authorizationServer.behaviour = { kind: 'issue' };
    },
    send: ({ headers, body }: Message, more: Record<string, string> = {}) =>
      gateway.send({ ...headers, ...more }, body),
  };
}

type Setup = Awaited<ReturnType<typeof startConsent>>;

/** The requestState of an input-required result. */
async function stateOf({ send }: Setup, message: Message): Promise<string> {
  const { status, text } = await send(message);
  assert.equal(status, 200);
  const { result } = JSON.parse(text);
  assert.equal(result.resultType, 'input_required');
  return result.requestState;
}

/** The same message, as the client sends it after the user consented. */
function retryOf({ headers, body }: Message, requestState: string, action = 'accept', more = {}): Message {
  const { params, ...message } = JSON.parse(body);
  const inputResponses = { 'cambist-consent': { action }, ...more };
  return { headers, body: JSON.stringify({ ...message, id: 2, params: { ...params, inputResponses, requestState } }) };
}

const CHUNKED = { 'transfer-encoding': 'chunked' };
const ELICITATION = {
  mode: 'url',
  url: CONSENT_URL,
  message: 'Your consent is needed before mcp.github.example can be used.',
};

const forwarded = async ({ upstream }: Setup) => String(await upstream.requests.at(-1)?.body());

function assertConsentProblem(response: Parameters<typeof problemOf>[0] & { status: number }): void {
  const { code, detail, interaction_uri: url } = problemOf(response);
  assert.ok(String(detail).endsWith(`: open ${CONSENT_URL}`), String(detail));
  assert.deepEqual([response.status, code, url], [403, 'ERR_CONSENT_REQUIRED', CONSENT_URL]);
}

test('asks a client of 2026-07-28 for the consent, and forwards its retry without the added fields', async (t) => {
  const setup = await startConsent(t);
  const { send, consent, upstream, app } = setup;
  const first = modernCall({ params: { name: 'list', arguments: { big: 1 } } });
  // Numbers that a parser would change.
  const message = { ...first, body: first.body.replace('"big":1', '"big":12345678901234567890, "e" : 1.50e+3') };
  const asked = await send(message);
  const { 'content-type': type, 'cache-control': caching } = asked.headers;
  assert.deepEqual([asked.status, type, caching], [200, 'application/json', 'no-store']);
  const { jsonrpc, id, result } = JSON.parse(asked.text);
  assert.deepEqual([jsonrpc, id, result.resultType], ['2.0', 1, 'input_required']);
  assert.deepEqual(result.inputRequests, {
    'cambist-consent': { method: 'elicitation/create', params: ELICITATION },
  });
  assert.equal(result.requestState, 'cambist-consent.1');
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
  for (const secret of [CONSENT_URL, 'opaque/path']) {
    assert.ok(!app.logText().includes(secret), secret);
    assert.ok(!(await app.metrics()).includes(secret), secret);
  }
  assert.ok((await app.metric('cambist_failures_total', { error: 'ERR_CONSENT_REQUIRED' })) >= 1);
});

test('asks again when the user has not consented yet, and does not hold off one who has just consented', async (t) => {
  const setup = await startConsent(t);
  const { send, consent, authorizationServer } = setup;
  const message = modernCall();
  const state = await stateOf(setup, message);
  // Other requests meet the remembered refusal.
  await send(message);
  assert.equal(authorizationServer.requests.length, 1);
  assert.equal(await stateOf(setup, retryOf(message, state)), state);
  assert.equal(authorizationServer.requests.length, 2);
  consent();
  assert.equal((await send(retryOf(message, state), CHUNKED)).status, 200);
  assert.equal(authorizationServer.requests.length, 3);
  assert.deepEqual(JSON.parse(await forwarded(setup)).params, JSON.parse(message.body).params);
});

test('responds to a client of 2025-11-25 with the error -32042, and holds it off for a moment only', async (t) => {
  const { send, consent } = await startConsent(t);
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
  assert.deepEqual(elicitation, ELICITATION);
  consent();
  await eventually('the consent counts', async () => (await send(legacyCall())).text.includes('rawHeaders'));
});

test('responds with 403 and interaction_uri to every other request', async (t) => {
  const { send, app, authorization } = await startConsent(t);
  const plain = await call(`${app.url}/github`, { headers: { authorization } });
  assertConsentProblem(plain);
  assert.equal(plain.headers['content-type'], 'application/problem+json');
  assert.equal(plain.headers['cache-control'], 'no-store');
  assertConsentProblem(await send(modernCall({ capabilities: {} })));
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

test('shows the URL to the caller that it concerns, and to no other', async (t) => {
  const { app, authorizationServer, authorization, subjectToken } = await startConsent(t);
  authorizationServer.behaviour = ({ form }) =>
    form.get('subject_token') === subjectToken ? CONSENT_REFUSAL : { kind: 'issue' };
  const bob = `Bearer ${await authorizationServer.mint({ subject: 'bob' })}`;
  const responses = await Promise.all(
    [authorization, bob, authorization, bob].map((token) =>
      call(`${app.url}/github`, { headers: { authorization: token } }),
    ),
  );
  const shown = responses.map(({ text }) => text.includes(CONSENT_URL));
  assert.deepEqual(shown, [true, false, true, false]);
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

const OF_BACKEND = { name: 'list', requestState: 'of the backend', inputResponses: { own: {} } };

test("passes a retry of the backend's own on, and one whose state is not of cambist", async (t) => {
  const setup = await startConsent(t);
  setup.consent();
  for (const message of [modernCall({ params: OF_BACKEND }), retryOf(modernCall(), 'cambist-consent.2')]) {
    assert.equal((await setup.send(message)).status, 200);
    assert.equal(await forwarded(setup), message.body);
  }
});

test('gives a caller who sends the state of another nothing but its own token', async (t) => {
  const setup = await startConsent(t);
  const { authorizationServer, subjectToken } = setup;
  const state = await stateOf(setup, modernCall());
  authorizationServer.behaviour = ({ form }) =>
    form.get('subject_token') === subjectToken ? { kind: 'issue' } : CONSENT_REFUSAL;
  const mallory = `Bearer ${await authorizationServer.mint({ subject: 'mallory' })}`;
  const refused = await setup.send(retryOf(modernCall(), state), { authorization: mallory });
  assert.equal(JSON.parse(refused.text).result.resultType, 'input_required');
  assert.equal(setup.upstream.requests.length, 0);
});

test('survives parameters that nest deeply', async (t) => {
  const setup = await startConsent(t);
  const { headers, body } = modernCall();
  const depth = 25_000;
  const nested = body.replace('"count":1', `"count":${'['.repeat(depth)}${']'.repeat(depth)}`);
  const state = await stateOf(setup, { headers, body: nested });
  setup.consent();
  const retry = { headers, body: nested.replace('"count"', `"requestState":"${state}","count"`) };
  assert.equal((await setup.send(retry)).status, 200);
});

test('a retry may exceed the body limit by the added fields, also where the message chooses the route', async (t) => {
  const setup = await startConsent(t, {
    route: { retry_body_limit: '1KiB', match: { path: '/github', mcp_method: 'tools/call' } },
  });
  const params = { name: 'list', arguments: { text: 'x'.repeat(500) } };
  const message = modernCall({ params });
  const state = await stateOf(setup, message);
  setup.consent();
  const retry = retryOf(message, state, 'accept', { filler: { action: 'accept', content: { z: 'z'.repeat(400) } } });
  assert.ok(retry.body.length > 1024);
  assert.equal((await setup.send(retry)).status, 200);
  assert.deepEqual(JSON.parse(await forwarded(setup)).params, JSON.parse(message.body).params);
});

test('streams a body that is larger than any retry', async (t) => {
  const setup = await startConsent(t, { route: { retry_body_limit: '1KiB' } });
  setup.consent();
  const large = modernCall({ params: { name: 'list', arguments: { text: 'x'.repeat(200_000) } } });
  for (const framing of [{}, CHUNKED]) {
    assert.equal((await setup.send(large, framing)).status, 200);
    assert.equal(await forwarded(setup), large.body);
  }
});
