import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import { createIntrospector, processIntrospection } from '../../../src/tokens/introspection.ts';
import { digestsOf } from '../../../src/tokens/sent-values.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { createSubjectVerifier } from '../../../src/tokens/subject-verifier.ts';
import { sendResponse } from '../../harness/fake-authorization-server.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { dispatcherOf, failsWith, serverOf, verificationOf } from './sample.ts';

const OWN_SECRET = {
  method: 'client_secret_basic',
  clientSecret: { env: 'INTROSPECTION_SECRET' },
  basicEncoding: 'form',
} as const;

const never = () => assert.fail('no other server issues an assertion');

/** An introspection endpoint with a settable response, and a verifier that asks it. */
async function start(t: TestContext, { endpoint = true, asserted = false } = {}) {
  const clock = createFakeClock();
  const asked: { form: URLSearchParams; authorization: string | undefined }[] = [];
  const paths: string[] = [];
  const results: string[] = [];
  const assertions: string[] = [];
  const now = () => Math.floor(clock.wallMs() / 1000);
  const state = {
    respond: (): unknown => ({ active: true, sub: 'alice', aud: 'cambist', exp: now() + 60 }),
    status: 200,
    /** The assertion comes from the cache. */
    reused: false,
  };
  const server = await startHttpServer(async (request: IncomingMessage, response) => {
    paths.push(request.url ?? '');
    if (request.url?.startsWith('/.well-known/') === true) {
      const { url } = server;
      sendResponse(response, 200, {
        issuer: url,
        token_endpoint: `${url}/token`,
        introspection_endpoint: `${url}/ask`,
      });
      return;
    }
    asked.push({ form: new URLSearchParams(await text(request)), authorization: request.headers.authorization });
    sendResponse(response, state.status, state.respond());
  });
  t.after(server.close);
  const agent = dispatcherOf(t);
  process.env.INTROSPECTION_SECRET = 's3cret';
  const home = serverOf({ name: 'home', issuer: 'https://home.example.com', clientAuth: OWN_SECRET });
  const idp = serverOf({
    name: 'idp',
    issuer: server.url,
    clientId: 'gateway',
    clientAuth: asserted
      ? {
          method: 'client_assertion',
          clientAssertion: undefined,
          from: { authorizationServer: home, scope: 'api://x/.default' },
          clientAssertionType: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        }
      : OWN_SECRET,
  });
  const rules = verificationOf({
    issuer: server.url,
    introspection: {
      authorizationServer: idp,
      endpoint: endpoint ? `${server.url}/ask` : undefined,
      cacheMs: 10_000,
    },
  });
  const introspector = createIntrospector({
    dispatcher: () => agent,
    clock,
    clientAssertions: asserted
      ? {
          async obtain() {
            assertions.push('obtained');
            return {
              assertion: { assertion: new Secret('an.assertion.'), lifetime: {} as never, sent: digestsOf([]) },
              reused: state.reused,
            };
          },
          drop: () => void assertions.push('dropped'),
          prepare: async () => void assertions.push('prepared'),
        }
      : { obtain: never, drop: never, prepare: never },
    observer: { credentialRead() {}, introspected: (_server, result) => results.push(result) },
    servers: () => [idp, home],
  });
  const verifier = createSubjectVerifier(
    () => agent,
    clock,
    async () => introspector,
  );
  const verify = async (token: string, wanted = rules) => verifier.verify(toSubject(token), wanted);
  return { clock, asked, paths, results, assertions, state, rules, verifier, verify, server, now };
}

test('asks as its client about an opaque token, and learns who the caller is', async (t) => {
  const { asked, rules, verifier, server, clock, results } = await start(t);
  const subject = toSubject('opaque-token');
  await verifier.verify(subject, rules);
  assert.deepEqual(Object.fromEntries(asked[0]?.form ?? []), {
    token: 'opaque-token',
    token_type_hint: 'access_token',
  });
  assert.equal(asked[0]?.authorization, `Basic ${Buffer.from('gateway:s3cret').toString('base64')}`);
  assert.equal(subject.introspected?.sub, 'alice');
  assert.equal(subject.introspected?.iss, server.url);
  assert.equal(subject.expiresAtMs, Math.floor(clock.wallMs() / 1000) * 1000 + 60_000);
  assert.deepEqual(results, ['active']);
});

test('finds the endpoint in the metadata', async (t) => {
  const { paths, rules, verifier, verify } = await start(t, { endpoint: false });
  await verifier.prepare(rules);
  await verify('opaque-token');
  assert.deepEqual(paths, ['/.well-known/oauth-authorization-server', '/ask']);
});

test('asks with an assertion of another server, and replaces a cached one that is refused', async (t) => {
  const { asked, rules, verifier, verify, assertions, state } = await start(t, { asserted: true });
  await verifier.prepare(rules);
  await verify('opaque-token');
  assert.equal(asked[0]?.form.get('client_assertion'), 'an.assertion.');
  assert.deepEqual(assertions, ['prepared', 'obtained']);
  state.status = 401;
  state.respond = () => ({ error: 'invalid_request', error_description: 'Authentication failed.' });
  await assert.rejects(verify('another-token'));
  assert.deepEqual(assertions, ['prepared', 'obtained', 'obtained', 'dropped']);
  state.reused = true;
  await assert.rejects(verify('a-third-token'));
  assert.deepEqual(assertions.slice(4), ['obtained', 'dropped', 'obtained']);
  assert.equal(asked.length, 4);
});

test('shares one question among concurrent callers, and reuses the result for ten seconds', async (t) => {
  const { asked, rules, verifier, verify, clock } = await start(t);
  await Promise.all(Array.from({ length: 8 }, () => verify('opaque-token')));
  const later = toSubject('opaque-token');
  assert.equal(verifier.verify(later, rules), undefined);
  assert.equal(later.introspected?.sub, 'alice');
  assert.equal(asked.length, 1);
  clock.advance(10_001);
  await verifier.verify(later, rules);
  assert.equal(asked.length, 2);
});

test('uses no result beyond the expiry of the token', async (t) => {
  const { verify, clock, state, now } = await start(t);
  const exp = now() + 2;
  state.respond = () => ({ active: true, aud: 'cambist', exp });
  await verify('opaque-token');
  clock.advance(8000);
  await assert.rejects(verify('opaque-token'), failsWith('ERR_SUBJECT_TOKEN_INVALID', /is expired/));
});

test('keeps an earlier expiry that the token itself states', async (t) => {
  const { rules, verifier, clock } = await start(t);
  const subject = toSubject('opaque-token');
  subject.expiresAtMs = clock.wallMs() + 5000;
  await verifier.verify(subject, rules);
  assert.equal(subject.expiresAtMs, clock.wallMs() + 5000);
});

test('refuses a revoked token, and does not ask again for ten seconds', async (t) => {
  const { asked, rules, verifier, verify, clock, results, state } = await start(t);
  state.respond = () => ({ active: false });
  const refused = failsWith('ERR_SUBJECT_TOKEN_INVALID', /not active/);
  await assert.rejects(verify('revoked'), refused);
  assert.throws(() => verifier.verify(toSubject('revoked'), rules), refused);
  assert.equal(asked.length, 1);
  clock.advance(10_001);
  await assert.rejects(verify('revoked'), refused);
  assert.deepEqual(results, ['refused', 'refused']);
});

test('uses no earlier result while the server fails, and opens the breaker', async (t) => {
  const { asked, verify, clock, results, state } = await start(t);
  await verify('opaque-token');
  state.status = 500;
  clock.advance(10_001);
  for (let i = 0; i < 6; i += 1) {
    await assert.rejects(verify('opaque-token'), failsWith('ERR_STS_UNAVAILABLE'));
  }
  assert.ok(asked.length < 7, String(asked.length));
  assert.equal(results.filter((result) => result === 'failure').length, 6);
});

test('asks about a JWT only after its signature, where the keys are configured', async (t) => {
  const { asked, verify, server, rules } = await start(t);
  const withKeys = { ...rules, jwksUri: `${server.url}/jwks` };
  await assert.rejects(verify('made-up', withKeys), failsWith('ERR_SUBJECT_TOKEN_INVALID'));
  assert.equal(asked.length, 0);
});

test('never says the token in an error', async (t) => {
  const { verify, server } = await start(t);
  await server.close();
  await assert.rejects(
    verify('opaque-token-value'),
    (error: Error) => !JSON.stringify([error.message, String(error.cause)]).includes('opaque-token-value'),
  );
});

const NOW_MS = 1_700_000_000_000;
const NOW = NOW_MS / 1000;
const RULES = verificationOf();

function introspected(body: unknown, status = 200, rules = RULES) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return processIntrospection({ status, retryAfter: undefined, text }, 'idp', rules, NOW_MS);
}

test('accepts an active token, and returns its claims with the issuer', () => {
  const { claims, expiresAtMs } = introspected({ active: true, sub: 'alice', aud: ['x', 'cambist'], exp: NOW + 60 });
  assert.deepEqual(claims, { active: true, sub: 'alice', aud: ['x', 'cambist'], exp: NOW + 60, iss: RULES.issuer });
  assert.equal(expiresAtMs, NOW_MS + 60_000);
});

test('accepts a token without exp and aud where any audience counts', () => {
  assert.equal(introspected({ active: true }, 200, { ...RULES, audience: 'any' }).expiresAtMs, undefined);
});

const refusals: [what: string, body: Record<string, unknown>, message: RegExp][] = [
  ['inactive', { active: false }, /not active/],
  ['of another issuer', { active: true, iss: 'https://evil.example.com', aud: 'cambist' }, /another issuer/],
  ['with an issuer that is not a text', { active: true, iss: null, aud: 'cambist' }, /another issuer/],
  ['for another audience', { active: true, aud: 'other' }, /another audience/],
  ['without an audience', { active: true }, /another audience/],
  ['bound to a key', { active: true, aud: 'cambist', cnf: { jkt: 'x' } }, /bound/],
  ['not valid yet', { active: true, aud: 'cambist', nbf: NOW + 6 }, /not valid yet/],
];
for (const [what, body, message] of refusals) {
  test(`refuses a token that is ${what}`, () => {
    assert.throws(() => introspected(body), failsWith('ERR_SUBJECT_TOKEN_INVALID', message));
  });
}

test('tells the caller that a token is expired', () => {
  const expired = (error: unknown) => error instanceof CambistError && error.expired;
  assert.throws(() => introspected({ active: true, aud: 'cambist', exp: NOW - 5 }), expired);
  assert.ok(introspected({ active: true, aud: 'cambist', exp: NOW - 4 }));
});

const faults: [status: number, body: unknown, code: ErrorCode][] = [
  [500, '', 'ERR_STS_UNAVAILABLE'],
  [429, { active: true }, 'ERR_STS_UNAVAILABLE'],
  [401, '', 'ERR_CLIENT_REFUSED'],
  [403, '', 'ERR_CLIENT_REFUSED'],
  [400, { error: 'invalid_request' }, 'ERR_CLIENT_REFUSED'],
  [404, { active: true, aud: 'cambist' }, 'ERR_STS_RESPONSE_INVALID'],
  [200, '<html></html>', 'ERR_STS_RESPONSE_INVALID'],
  [200, { active: 'true' }, 'ERR_STS_RESPONSE_INVALID'],
  [200, { active: true, aud: 'cambist', exp: 'never' }, 'ERR_STS_RESPONSE_INVALID'],
  [200, { active: true, aud: 'cambist', pad: 'x'.repeat(64 * 1024) }, 'ERR_STS_RESPONSE_INVALID'],
];
for (const [status, body, code] of faults) {
  test(`takes status ${status} with ${JSON.stringify(body).slice(0, 50)} for ${code}`, () => {
    assert.throws(() => introspected(body, status), failsWith(code));
  });
}

test('accepts nothing but an active token of the issuer for the audience, whatever the response says', () => {
  const claim = fc.oneof(fc.jsonValue(), fc.constantFrom('cambist', RULES.issuer, NOW + 60, true));
  const body = fc.record(
    { active: claim, iss: claim, aud: claim, exp: claim, nbf: claim, cnf: claim },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(body, (written) => {
      try {
        const { claims } = introspected(written);
        assert.equal(claims.active, true);
        assert.equal(claims.iss, RULES.issuer);
        assert.ok([claims.aud].flat().includes('cambist'));
      } catch (error) {
        assert.ok(error instanceof CambistError, String(error));
      }
    }),
  );
});
