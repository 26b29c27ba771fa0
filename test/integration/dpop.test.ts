import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { calculateJwkThumbprint, decodeJwt, EmbeddedJWK, type JWTPayload, jwtVerify } from 'jose';
import { sendResponse } from '../harness/fake-authorization-server.ts';
import { echo, type UpstreamHandler, type UpstreamRequest } from '../harness/fake-upstream.ts';
import { startGateway } from '../harness/gateway.ts';
import { assertProblem } from '../harness/http-call.ts';

const NO_PROOF = { 'www-authenticate': 'DPoP error="invalid_token"' };
const wantsNonce = (nonce: string) => ({
  'www-authenticate': 'DPoP error="use_dpop_nonce", error_description="a nonce is required"',
  'dpop-nonce': nonce,
});

interface Guard {
  /** The nonce that proofs must contain. If undefined, none is required. */
  nonce: string | undefined;
  refused: Set<string>;
}

/** A resource server that accepts a token only with a proof of its key (RFC 9449 section 7.1). */
function guarded(guard: Guard, next: UpstreamHandler = echo): UpstreamHandler {
  const seen = new Set<string>();
  return async (request, response) => {
    const { authorization = '', dpop } = request.headers;
    const [, token] = /^DPoP (\S+)$/.exec(authorization) ?? [];
    const proof = typeof dpop === 'string' ? await readProof(dpop) : undefined;
    if (token === undefined || proof === undefined || guard.refused.has(token))
      return sendResponse(response, 401, '', NO_PROOF);
    const { payload, thumbprint } = proof;
    if (guard.nonce !== undefined && payload.nonce !== guard.nonce) {
      return sendResponse(response, 401, '', wantsNonce(guard.nonce));
    }
    const isFresh = payload.jti !== undefined && !seen.has(payload.jti);
    seen.add(payload.jti ?? '');
    const isValid =
      isFresh &&
      Math.abs((payload.iat ?? 0) - Date.now() / 1000) < 60 &&
      payload.htm === request.method &&
      payload.htu === `http://${request.headers.host}${request.url.replace(/\?.*/, '')}` &&
      payload.ath === createHash('sha256').update(token).digest('base64url') &&
      (decodeJwt(token).cnf as { jkt?: string } | undefined)?.jkt === thumbprint;
    if (!isValid) return sendResponse(response, 401, '', NO_PROOF);
    return next(request, response);
  };
}

async function readProof(text: string): Promise<{ payload: JWTPayload; thumbprint: string } | undefined> {
  try {
    const { payload, protectedHeader } = await jwtVerify(text, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] });
    if (protectedHeader.jwk === undefined) return undefined;
    return { payload, thumbprint: await calculateJwkThumbprint(protectedHeader.jwk) };
  } catch {
    return undefined;
  }
}

/** An authorization server that binds tokens to the key of the proof, and an upstream that requires this key. */
async function start(t: TestContext, nonce?: string, next?: UpstreamHandler) {
  const guard: Guard = { nonce, refused: new Set() };
  const gateway = await startGateway(t, { handler: guarded(guard, next) });
  const { app, authorizationServer, config } = gateway;
  /** Reloads with other keys of the server. */
  const reload = (keys: Record<string, unknown> = {}) =>
    app.reloadTo({
      ...config,
      authorization_servers: { local: { ...config.authorization_servers.local, dpop: true, ...keys } },
    });
  reload();
  authorizationServer.behaviour = ({ headers }) => ({
    kind: 'issue',
    fields: { token_type: 'DPoP' },
    claims: { cnf: { jkt: thumbprintOf(String(headers.dpop)) } },
  });
  return { ...gateway, guard, reload };
}

/** The thumbprint (RFC 7638) of the key in the header of a proof. */
function thumbprintOf(proof: string): string {
  const { jwk } = JSON.parse(Buffer.from(proof.split('.')[0] ?? '', 'base64url').toString());
  const { crv, kty, x, y } = jwk;
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
}

const proofOf = (request: UpstreamRequest | undefined): JWTPayload => decodeJwt(String(request?.headers.dpop));

test('sends a bound token with a new proof for each request, and not the proof of the caller', async (t) => {
  const { send, upstream, authorizationServer } = await start(t);
  const headers = { DPoP: 'proof-of-the-caller' };
  for (const path of ['/github', '/github/x?query=1', '/github']) {
    assert.equal((await send(headers, '{}', path)).status, 200);
  }
  assert.equal(authorizationServer.requests.length, 1);
  assert.equal(new Set(upstream.requests.map((request) => proofOf(request).jti)).size, 3);
  assert.equal(upstream.requests[0]?.authorization.length, 1);
  assert.ok(!JSON.stringify(upstream.requests.map(({ rawHeaders }) => rawHeaders)).includes('proof-of-the-caller'));
});

test('retries with the nonce of the upstream and the same token, and remembers the nonce', async (t) => {
  const { send, upstream, authorizationServer } = await start(t, 'one');
  const response = await send({}, '{"a":1}');
  assert.equal(response.status, 200);
  assert.equal(JSON.parse(response.text).body, '{"a":1}');
  await send();
  const nonces = upstream.requests.map((request) => proofOf(request).nonce);
  assert.deepEqual(nonces, [undefined, 'one', 'one']);
  assert.equal(authorizationServer.requests.length, 1);
});

test('uses the nonce of a response in the next request', async (t) => {
  const { send, guard, upstream } = await start(t, undefined, (_request, response) =>
    sendResponse(response, 200, '', { 'dpop-nonce': 'next' }),
  );
  assert.equal((await send()).headers['dpop-nonce'], undefined, 'a nonce would make the caller send its own proof');
  guard.nonce = 'next';
  assert.equal((await send()).status, 200);
  assert.equal(upstream.requests.length, 2);
});

test('stops retrying when the upstream refuses every nonce', async (t) => {
  const { send, upstream } = await start(t);
  let nonces = 0;
  upstream.handler = (_request, response) => {
    nonces += 1;
    sendResponse(response, 401, '', wantsNonce(`nonce-${nonces}`));
  };
  assertProblem(await send(), 'ERR_UPSTREAM_REFUSED_TOKEN');
  assert.ok(upstream.requests.length <= 4, `${upstream.requests.length} requests`);
});

test('returns an error when a body is too large to retry, and uses the nonce in the next request', async (t) => {
  const { send, upstream, authorizationServer } = await start(t, 'one');
  assertProblem(await send({}, 'x'.repeat(200_000)), 'ERR_UPSTREAM_REFUSED_TOKEN');
  assert.equal((await send({}, 'x'.repeat(200_000))).status, 200);
  assert.equal(upstream.requests.length, 2);
  assert.equal(authorizationServer.requests.length, 1);
});

test('exchanges again when a bound token is refused, and sends a proof for the new token', async (t) => {
  const { send, guard, authorizationServer } = await start(t, 'one');
  await send();
  guard.refused.add(authorizationServer.requests[0]?.issued ?? '');
  guard.nonce = 'two';
  assert.equal((await send()).status, 200);
  assert.equal(authorizationServer.requests.length, 2);
});

test('keeps the key over every reload', async (t) => {
  const { send, reload, authorizationServer, upstream } = await start(t);
  for (const keys of [{}, { timeout: '4s' }, { extra_params: { a: 'b' } }]) {
    reload(keys);
    await send();
  }
  const keys = [...authorizationServer.requests, ...upstream.requests].map(({ headers }) =>
    thumbprintOf(String(headers.dpop)),
  );
  assert.equal(keys.length, 5);
  assert.equal(new Set(keys).size, 1);
});
