import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import type { ProxyObserver } from '../../../src/observability/proxy-observer.ts';
import type { CacheResult } from '../../../src/observability/token-observer.ts';
import { RefusedResponse, upstreamError } from '../../../src/proxy/backend-failure.ts';
import { stalledUpload } from '../../../src/proxy/body-wait.ts';
import { obtainToken } from '../../../src/proxy/obtain-token.ts';
import type { ProxyRequest } from '../../../src/proxy/proxy-request.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { words } from '../../harness/words.ts';
import { startReplica, written } from '../shared-cache/replica.ts';
import { routeOf, subjectOf } from '../tokens/sample.ts';
import { setUpBroker } from '../tokens/scripted-endpoint.ts';

const GITHUB = { name: 'github', timeouts: { connectMs: 10_000, responseHeadersMs: 90_000, stallMs: 60_000 } };

const withCode = (code: string): Error => Object.assign(new Error('10.0.0.7'), { code });

test('maps a connection error to an error code', () => {
  for (const [expected, codes] of [
    ['ERR_UPSTREAM_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT'],
    [
      'ERR_UPSTREAM_TLS',
      `CERT_HAS_EXPIRED ERR_TLS_CERT_ALTNAME_INVALID ERR_SSL_WRONG_VERSION_NUMBER DEPTH_ZERO_SELF_SIGNED_CERT INVALID_CA
       SELF_SIGNED_CERT_IN_CHAIN UNABLE_TO_VERIFY_LEAF_SIGNATURE UNABLE_TO_GET_ISSUER_CERT_LOCALLY EPROTO`,
    ],
    ['ERR_UPSTREAM_UNREACHABLE', 'ECONNREFUSED ENOTFOUND ECONNRESET UND_ERR_CONNECT_TIMEOUT UND_ERR_SOCKET UNKNOWN'],
    ['ERR_INTERNAL', 'UND_ERR_INVALID_ARG'],
  ] as const) {
    for (const code of words(codes)) assert.equal(upstreamError(withCode(code), GITHUB).code, expected, code);
  }
});

test('names the route and keeps the cause, and a CambistError as it is', () => {
  const caught = withCode('ECONNREFUSED');
  const error = upstreamError(caught, GITHUB);
  assert.match(error.message, /^route "github": the upstream cannot be reached/);
  assert.equal(error.cause, caught);
  const known = new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'x');
  assert.equal(upstreamError(known, GITHUB), known);
});

test('names the timeout that ended a request, its value and a fix', () => {
  assert.equal(
    upstreamError(withCode('UND_ERR_HEADERS_TIMEOUT'), GITHUB).message,
    'route "github": the upstream sent no response headers within timeouts.response_headers, which is 90s: find out why it is slow, or raise the limit',
  );
  assert.equal(
    stalledUpload('github', 300_000).message,
    'route "github": no byte moved for timeouts.stall, which is 5m, while the upload waited for the backend: find out why it stopped reading, or raise timeouts.stall',
  );
});

test('distinguishes an untrusted certificate from a failed handshake', () => {
  for (const [code, says] of [
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /certificate is not trusted: set tls\.ca/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /certificate is not trusted: set tls\.ca/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /failed the TLS handshake: its port may serve plain http/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', /may require a client certificate: see tls\.certificate$/],
    ['EPROTO', /failed the TLS handshake/],
  ] as const) {
    assert.match(upstreamError(withCode(code), GITHUB).message, says, code);
  }
});

const TOKEN = { authorization: new Secret('Bearer issued') } as IssuedToken;
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

const route = routeOf();
const session = { subject: subjectOf('alice'), id: undefined };

/** Obtains the token of a session at a replica, with the results that the log line of the request had, one after the other. */
async function start(t: TestContext, server: MemoryStore) {
  const { second } = await startReplica(t, server, { clock: createFakeClock() });
  const { broker, clock, request, lookups } = setUpBroker({ second });
  const results: CacheResult[] = [];
  const record = {
    incoming: { socket: {}, rawHeaders: [] },
    active: { credentialHeaders: new Set() },
    set cacheResult(result: CacheResult) {
      results.push(result);
    },
  };
  const routed = { request: { record } as unknown as ProxyRequest, route } as Routed;
  const options = { broker, clock, observer: {} as ProxyObserver };
  return { obtain: async () => obtainToken(routed, session, options), request, results, lookups };
}

test('logs and counts a token of another replica as shared, and not as a miss', async (t) => {
  const server = createMemoryStore();
  const [one, other] = [await start(t, server), await start(t, server)];
  const first = one.obtain();
  await (await one.request(1)).issue('token');
  await written(server);
  const found = await other.obtain();
  assert.equal(found?.authorization.reveal(), (await first)?.authorization.reveal());
  await other.obtain();
  assert.deepEqual([one.results.at(-1), other.results], ['miss', ['miss', 'shared', 'hit']]);
  assert.deepEqual([one.lookups, other.lookups], [['github miss'], ['github shared', 'github hit']]);
});
