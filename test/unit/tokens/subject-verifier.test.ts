import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { createRevocations } from '../../../src/tokens/revocations.ts';
import { createSubjectReader, type Subject, toSubject } from '../../../src/tokens/subject.ts';
import { createSubjectSource } from '../../../src/tokens/subject-source.ts';
import { createSubjectVerifier } from '../../../src/tokens/subject-verifier.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { issuerKey, noIntrospection, startIssuer } from './issuer.ts';
import { failsWith, folderOf, jwtOf, routeOf, subjectTokenOf, verificationOf } from './sample.ts';

for (const alg of ['ES256', 'RS256', 'EdDSA'] as const) {
  test(`accepts a token that the issuer signed with ${alg} for cambist`, async (t) => {
    const key = issuerKey('one', alg);
    const issuer = await startIssuer(t, key);
    await issuer.verify(issuer.sign(key));
    await issuer.verify(issuer.sign(key, { aud: ['agent', 'cambist'] }));
  });
}

test('verifies a token once, and then returns synchronously, unless the rules of another route apply', async (t) => {
  const issuer = await startIssuer(t);
  const subject = toSubject(await issuer.token());
  const verify = (fields = {}) => issuer.verifier.verify(subject, issuer.rules(fields));
  assert.ok(verify() instanceof Promise);
  await verify();
  assert.equal(verify(), undefined);
  assert.deepEqual(issuer.paths, ['/jwks']);
  await assert.rejects(
    async () => verify({ audience: ['other'] }),
    failsWith('ERR_SUBJECT_TOKEN_INVALID', /"aud" does not match/),
  );
  await verify({ audience: 'any' });
});

test('finds the keys by the metadata of the issuer', async (t) => {
  const issuer = await startIssuer(t);
  await issuer.verify(issuer.token({ aud: 'another' }), issuer.rules({ audience: 'any', jwksUri: undefined }));
  assert.deepEqual(issuer.paths, ['/.well-known/oauth-authorization-server', '/jwks']);
});

const wrong: [what: string, claims: Record<string, unknown>, message: RegExp][] = [
  ['of another issuer', { iss: 'https://evil.example.com' }, /"iss" does not match/],
  ['without an issuer', { iss: undefined }, /"iss" does not match/],
  ['for another audience', { aud: 'other' }, /"aud" does not match/],
  ['without an audience', { aud: undefined }, /"aud" does not match/],
  ['without an expiry', { exp: undefined }, /"exp" does not match/],
];
for (const [what, claims, message] of wrong) {
  test(`refuses a token ${what}`, async (t) => {
    const issuer = await startIssuer(t);
    await issuer.refuses(issuer.token(claims), message);
  });
}

test('refuses a logout token and other signed messages of the issuer that are not credentials', async (t) => {
  const issuer = await startIssuer(t);
  for (const typ of ['logout+jwt', 'application/Logout+JWT', 'secevent+jwt', 'token-introspection+jwt']) {
    await issuer.refuses(issuer.token({}, { typ }), /that it is another message/);
  }
  const events = { 'http://schemas.openid.net/event/backchannel-logout': {} };
  for (const typ of ['JWT', undefined]) {
    await issuer.refuses(issuer.token({ events }, { typ }), /that it is another message/);
  }
  for (const typ of ['JWT', 'at+jwt', 'application/at+jwt', 'txntoken+jwt']) {
    await issuer.verify(issuer.token({}, { typ }));
  }
  // A claim of an issuer's own may have this name.
  await issuer.verify(issuer.token({ events: ['read', 'write'] }, { typ: 'JWT' }));
});

test('checks exp and nbf with a leeway of five seconds', async (t) => {
  const issuer = await startIssuer(t);
  const now = Math.floor(issuer.clock.wallMs() / 1000);
  await issuer.verify(issuer.token({ exp: now - 4, nbf: now - 9 }));
  await issuer.verify(issuer.token({ nbf: now + 4 }));
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ exp: now - 6 }, /it is expired/],
    [{ nbf: now + 6 }, /"nbf" does not match/],
    [{ nbf: 'soon' }, /"nbf" does not match|not a readable signed JWT/],
  ];
  for (const [claims, message] of cases) {
    await issuer.refuses(issuer.token(claims), message);
  }
});

test('refuses a token with a missing or forged signature', async (t) => {
  const key = issuerKey('one', 'RS256');
  const issuer = await startIssuer(t, key);
  const claims = { iss: issuer.url, aud: 'cambist', exp: Math.floor(issuer.clock.wallMs() / 1000) + 600 };
  const forged = (header: Record<string, unknown>, secret: string) => {
    const input = jwtOf(claims, header).split('.').slice(0, 2).join('.');
    return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
  };
  const good = await issuer.sign(key);
  const stranger = issuerKey('one', 'RS256');
  const tokens: [string, RegExp][] = [
    [jwtOf(claims, { alg: 'none', kid: 'one' }), /algorithm is not allowed/],
    // Signed by HMAC with the public key as the secret.
    [forged({ alg: 'HS256', kid: 'one' }, JSON.stringify(key.jwk)), /algorithm is not allowed/],
    [await issuer.sign(stranger), /signature is wrong/],
    [`${good.split('.').slice(0, 2).join('.')}.AAAA`, /signature is wrong/],
    [jwtOf(claims, { alg: 'ES256', kid: 'one' }), /no key of the issuer matches/],
    ['opaque', /not a readable signed JWT/],
  ];
  for (const [token, message] of tokens) {
    await assert.rejects(issuer.verify(token), (error: Error) => {
      failsWith('ERR_SUBJECT_TOKEN_INVALID', message)(error);
      return !error.message.includes(token) && error.cause === undefined;
    });
  }
});

test('does not use a key from the header of a token', async (t) => {
  const issuer = await startIssuer(t);
  const stranger = issuerKey('two');
  await issuer.refuses(issuer.sign(stranger, {}, { jwk: stranger.jwk, kid: undefined }), /signature is wrong/);
});

test('tries at most sixteen keys for a token without a key id', async (t) => {
  const keys = Array.from({ length: 17 }, () => issuerKey(undefined));
  const issuer = await startIssuer(t, ...keys);
  const signedBy = (index: number) => issuer.sign(keys[index] as (typeof keys)[number], {}, { kid: undefined });
  await issuer.verify(await signedBy(15));
  await issuer.refuses(issuer.token({ aud: 'other' }, { kid: undefined }), /"aud" does not match/);
  await issuer.refuses(await signedBy(16), /signature is wrong/);
});

test('prepares keys once for all rules that share them', async (t) => {
  const issuer = await startIssuer(t);
  const [one, other] = [issuer.rules(), issuer.rules({ audience: ['other'] })];
  await Promise.all([issuer.verifier.prepare(one), issuer.verifier.prepare(other)]);
  await issuer.verifier.prepare(one);
  issuer.fault = { kind: 'reset' };
  await issuer.verify();
  assert.deepEqual(issuer.paths, ['/jwks']);
});

test('fails to prepare keys that are unavailable or belong to another issuer', async (t) => {
  const issuer = await startIssuer(t);
  const prepare = (name = issuer.url) => issuer.verifier.prepare(issuer.rules({ issuer: name, jwksUri: undefined }));
  await assert.rejects(prepare(`${issuer.url}/`), failsWith('ERR_STS_METADATA_INVALID', /belongs to another issuer/));
  issuer.fault = { kind: 'response', status: 500 };
  await assert.rejects(prepare(), failsWith('ERR_STS_UNAVAILABLE'));
  issuer.fault = undefined;
  issuer.clock.advance(1000);
  await prepare();
});

test('tries again after the verifier failed to load, and fetches the keys once', async (t) => {
  const issuer = await startIssuer(t);
  let failures = 1;
  const verifier = createSubjectVerifier(issuer.pool, issuer.clock, noIntrospection, undefined, () =>
    failures-- > 0 ? Promise.reject(new Error('too many open files')) : import('../../../src/tokens/subject-check.ts'),
  );
  const rules = issuer.rules();
  await assert.rejects(verifier.prepare(rules), /too many open files/);
  await Promise.all([
    verifier.prepare(rules),
    verifier.verify(toSubject(await issuer.token()), rules),
    verifier.verify(toSubject(await issuer.token({ jti: 'another' })), rules),
  ]);
  assert.deepEqual(issuer.paths, ['/jwks']);
});

const CONNECTION = {};

async function setUp(t: TestContext) {
  const issuer = await startIssuer(t);
  const { verifier, clock } = issuer;
  const source = createSubjectSource({ reader: createSubjectReader(), verifier, clock, credentialRead() {} });
  const nowSeconds = clock.wallMs() / 1000;
  const verified = routeOf({ subjectToken: subjectTokenOf({ verify: issuer.rules() }) });
  return { issuer, source, nowSeconds, verified, folder: folderOf(t) };
}

test('returns a caller’s token synchronously', async (t) => {
  const { source } = await setUp(t);
  const subject = source(routeOf(), CONNECTION, ['Bearer token']);
  assert.ok(subject !== undefined && !(subject instanceof Promise));
  assert.equal(subject.token.reveal(), 'token');
  assert.equal(source(routeOf(), CONNECTION, []), undefined);
});

test('refuses an expired caller’s token before its verification', async (t) => {
  const { source, verified, nowSeconds } = await setUp(t);
  const values = [`Bearer ${jwtOf({ exp: nowSeconds - 10 })}`];
  assert.throws(() => source(verified, CONNECTION, values), failsWith('ERR_SUBJECT_TOKEN_INVALID', /expired/));
});

test('refuses a token at the expiry that a remembered introspection states, also after the machine slept', () => {
  const clock = createFakeClock();
  const expiresAtMs = clock.wallMs() + 10_000;
  const verifier = {
    prepare: async () => {},
    forget() {},
    verify(subject: Subject) {
      subject.expiresAtMs = expiresAtMs;
      return undefined;
    },
  };
  const source = createSubjectSource({ reader: createSubjectReader(), verifier, clock, credentialRead() {} });
  const route = routeOf({ subjectToken: subjectTokenOf({ verify: verificationOf() }) });
  assert.ok(source(route, {}, ['Bearer opaque']));
  clock.jumpWall(60_000);
  assert.throws(() => source(route, {}, ['Bearer opaque']), failsWith('ERR_SUBJECT_TOKEN_INVALID', /expired/));
});

test('returns a promise until a caller’s token is verified', async (t) => {
  const { source, issuer, verified } = await setUp(t);
  const values = [`Bearer ${await issuer.token()}`];
  const first = source(verified, CONNECTION, values);
  assert.ok(first instanceof Promise);
  assert.ok(source(verified, CONNECTION, values) instanceof Promise);
  assert.equal(await first, source(verified, CONNECTION, values));
  const bad = [`Bearer ${await issuer.token({ aud: 'x' })}`];
  await assert.rejects(async () => source(verified, CONNECTION, bad), failsWith('ERR_SUBJECT_TOKEN_INVALID'));
});

test('refuses a revoked caller’s token: not verified, verified before, and verified now', async () => {
  const clock = createFakeClock();
  const revocations = createRevocations({ clock, rememberMs: 60_000 });
  let verifying: Promise<void> | undefined;
  const verifier = { prepare: async () => {}, forget() {}, verify: () => verifying };
  const reader = createSubjectReader();
  const source = createSubjectSource({ reader, verifier, clock, credentialRead() {}, revocations });
  const issuer = 'https://idp.example.com';
  const values = [`Bearer ${jwtOf({ iss: issuer, sub: 'alice', iat: clock.wallMs() / 1000 - 1 })}`];
  const verified = routeOf({ subjectToken: subjectTokenOf({ verify: verificationOf() }) });
  const subject = { claim: 'sub', value: 'alice' } as const;
  revocations.revoke({ issuer, subject, session: undefined, atMs: clock.wallMs() });
  const isRevoked = failsWith('ERR_SUBJECT_TOKEN_INVALID', /revoked/);
  assert.throws(() => source(routeOf(), {}, values), isRevoked);
  assert.throws(() => source(verified, {}, values), isRevoked);
  verifying = Promise.resolve();
  await assert.rejects(Promise.resolve(source(verified, {}, values)), isRevoked);
});

test('reports a problem with a token file as ERR_CREDENTIAL_UNAVAILABLE', async (t) => {
  const { source, folder, nowSeconds, issuer } = await setUp(t);
  const cases: [string, RegExp][] = [
    [jwtOf({ exp: nowSeconds - 10 }), /token of route "github": it is expired: check the process that renews it/],
    ['two words', /contains no token/],
    [jwtOf({ cnf: { jkt: 'x' } }), /bound to a key/],
    [jwtOf({ exp: nowSeconds + 60 }), /not a valid token of issuer/],
  ];
  for (const [text, message] of cases) {
    const file = folder.write('token', text);
    const route = routeOf({ subjectToken: subjectTokenOf({ own: { file }, verify: issuer.rules() }) });
    await assert.rejects(async () => source(route, CONNECTION, []), failsWith('ERR_CREDENTIAL_UNAVAILABLE', message));
  }
});

test('verifies a token from a file, and reports a fault of the issuer as such', async (t) => {
  const { source, folder, issuer } = await setUp(t);
  const file = folder.write('token', await issuer.token());
  const route = routeOf({ subjectToken: subjectTokenOf({ own: { file }, verify: issuer.rules() }) });
  issuer.fault = { kind: 'reset' };
  await assert.rejects(Promise.resolve(source(route, CONNECTION, [])), failsWith('ERR_STS_UNAVAILABLE'));
  issuer.fault = undefined;
  issuer.clock.advance(1000);
  assert.ok((await source(route, CONNECTION, [])) !== undefined);
});
