import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RefusedResponse } from '../../../src/proxy/refused-response.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';

const TOKEN: IssuedToken = {
  authorization: new Secret('Bearer issued'),
  granted: { audience: [], scope: undefined },
  lifetime: {
    sentAtMs: 0,
    reusableUntilMs: 1,
    refreshAtMs: 1,
    expiresAtMs: 1,
    expiresAtMonotonicMs: 1,
    expiredOnArrival: false,
  },
};
const JSON_TYPE = ['content-type', 'application/problem+json'];

/** The reason in a response with these headers and body. */
function reasonOf(headers: string[], body = '') {
  const response = new RefusedResponse(TOKEN, headers);
  for (const byte of Buffer.from(body)) response.data(Buffer.from([byte]));
  response.end();
  return response.reason();
}

test('reads the reason from the challenge, and else from a JSON body', async () => {
  const challenge = ['www-authenticate', 'Bearer realm="x", error="invalid_token", error_description="no \\"aud\\""'];
  const body = JSON.stringify({ error: 'other', message: 'not read' });
  const fromChallenge = { error: 'invalid_token', description: 'no "aud"' };
  assert.deepEqual(await reasonOf([...challenge, ...JSON_TYPE], body), fromChallenge);
  const plain = ['www-authenticate', 'Bearer realm="x"'];
  assert.deepEqual(await reasonOf([...plain, ...JSON_TYPE], body), { error: 'other', description: 'not read' });
});

test('reads the words of OAuth, problem details, JSON-RPC and frameworks', async () => {
  for (const [body, error, description] of [
    [{ error: 'invalid_token', error_description: 'expired' }, 'invalid_token', 'expired'],
    [{ title: 'Unauthorized', detail: 'wrong aud' }, '', 'wrong aud'],
    [{ jsonrpc: '2.0', error: { code: -32001, message: 'Unauthorized' } }, '', 'Unauthorized'],
    [{ message: 'jwt expired' }, '', 'jwt expired'],
    [['x'], '', ''],
    [{ error: 7 }, '', ''],
  ] as const) {
    assert.deepEqual(await reasonOf(JSON_TYPE, JSON.stringify(body)), { error, description });
  }
});

test('reads no long body and no other media type', async () => {
  const nothing = { error: '', description: '' };
  assert.deepEqual(await reasonOf(JSON_TYPE, JSON.stringify({ error: 'x'.repeat(9000) })), nothing);
  assert.deepEqual(await reasonOf(['content-type', 'text/html'], '{"error":"x"}'), nothing);
  assert.deepEqual(await reasonOf([], ''), nothing);
});
