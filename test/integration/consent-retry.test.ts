import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modernCall } from '../harness/consent.ts';
import { assertProblem } from '../harness/problem.ts';
import { assertConsentProblem, forwarded, retryOf, startConsent, stateOf } from './consent-messages.ts';

test('accepts a retry whose body is chunked', async (t) => {
  const setup = await startConsent(t);
  const message = modernCall();
  const state = await stateOf(setup, message);
  setup.consent();
  const { status } = await setup.send(retryOf(message, state), { 'transfer-encoding': 'chunked' });
  assert.equal(status, 200);
  assert.deepEqual(JSON.parse(await forwarded(setup)).params, JSON.parse(message.body).params);
});

test('gives a backend its own state back, and the input that it asked for', async (t) => {
  const setup = await startConsent(t);
  const inputResponses = { 'of-the-backend': { action: 'accept', content: { a: 1 } } };
  const original = modernCall({ params: { name: 'list', requestState: 'backend-state"\\', inputResponses } });
  const state = await stateOf(setup, original);
  setup.consent();
  // The client sends only what was asked for last.
  assert.equal((await setup.send(retryOf(original, state))).status, 200);
  assert.deepEqual(JSON.parse(await forwarded(setup)).params, JSON.parse(original.body).params);

  const bare = JSON.parse(retryOf(original, state).body);
  delete bare.params.inputResponses;
  assert.equal((await setup.send({ ...original, body: JSON.stringify(bare) })).status, 200);
  assert.deepEqual(JSON.parse(await forwarded(setup)).params, JSON.parse(original.body).params);
});

test("passes a backend's own state untouched, and cambist's prefix in arguments", async (t) => {
  const setup = await startConsent(t);
  setup.consent();
  const own = modernCall({ params: { name: 'list', requestState: 'of-the-backend', inputResponses: { a: {} } } });
  const argument = modernCall({ params: { name: 'list', arguments: { requestState: 'cambist-consent.1.abc' } } });
  for (const message of [own, argument]) {
    assert.equal((await setup.send(message)).status, 200);
    assert.equal(await forwarded(setup), message.body);
  }
});

test('refuses a state that is altered, of another caller or of another request', async (t) => {
  const setup = await startConsent(t);
  const message = modernCall();
  const state = await stateOf(setup, message);
  setup.consent();
  const exchanges = setup.authorizationServer.requests.length;
  const other = modernCall({ params: { name: 'delete', arguments: { count: 1 } } });
  const mallory = `Bearer ${await setup.authorizationServer.mint({ subject: 'mallory' })}`;
  const twice = retryOf(message, state).body.replace('"requestState"', '"requestState":"x","requestState"');
  for (const [retry, headers] of [
    [retryOf(message, `${state.slice(0, -1)}${state.endsWith('A') ? 'B' : 'A'}`), {}],
    [retryOf(message, 'cambist-consent.1.'), {}],
    [retryOf(other, state), {}],
    [retryOf(message, state), { authorization: mallory }],
    [{ ...message, body: twice }, {}],
  ] as const) {
    const response = await setup.send(retry, headers);
    assertProblem(response, 'ERR_REQUEST_STATE_INVALID');
    assert.equal(JSON.parse(response.text).id, 2);
  }
  assert.equal(setup.upstream.requests.length, 0);
  assert.equal(setup.authorizationServer.requests.length, exchanges);
});

test('survives parameters that are nested too deeply to be compared', async (t) => {
  const setup = await startConsent(t);
  const { send, app } = setup;
  const { headers, body } = modernCall();
  const depth = 25_000;
  const nested = body.replace('"count":1', `"count":${'['.repeat(depth)}${']'.repeat(depth)}`);
  assertConsentProblem(await send({ headers, body: nested }));
  const retry = retryOf({ headers, body }, await stateOf(setup, modernCall())).body;
  const deep = retry.replace('"count":1', `"count":${'['.repeat(depth)}${']'.repeat(depth)}`);
  assertProblem(await send({ headers, body: deep }), 'ERR_REQUEST_STATE_INVALID');
  assert.ok(!app.logText().includes('ERR_INTERNAL'));
});

test('a retry may exceed the body limit by the added fields, also where the message chooses the route', async (t) => {
  const setup = await startConsent(t, {
    route: { retry_body_limit: '1KiB', match: { path: '/github', mcp_method: 'tools/call' } },
  });
  const params = { name: 'list', arguments: { text: 'x'.repeat(500) }, requestState: 'y'.repeat(200) };
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
  for (const framing of [{}, { 'transfer-encoding': 'chunked' }]) {
    assert.equal((await setup.send(large, framing)).status, 200);
    assert.equal(await forwarded(setup), large.body);
  }
});
