import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { createSubjectVerifier } from '../../../src/tokens/subject-verifier.ts';
import { issuerKey, noIntrospection, startIssuer, subjectFrom } from './issuer.ts';
import { failsWith, jwtOf } from './sample.ts';

for (const alg of ['ES256', 'RS256', 'EdDSA'] as const) {
  test(`accepts a token that the issuer signed with ${alg} for cambist`, async (t) => {
    const key = issuerKey('one', alg);
    const issuer = await startIssuer(t, key);
    await issuer.verify(issuer.sign(key));
    await issuer.verify(issuer.sign(key, { aud: ['agent', 'cambist'] }));
  });
}

test('verifies a token once, and then returns synchronously', async (t) => {
  const issuer = await startIssuer(t);
  const subject = subjectFrom(await issuer.token());
  const rules = issuer.rules();
  assert.ok(issuer.verifier.verify(subject, rules) instanceof Promise);
  await issuer.verifier.verify(subject, rules);
  assert.equal(issuer.verifier.verify(subject, rules), undefined);
  assert.equal(issuer.verifier.verify(subject, issuer.rules()), undefined);
  assert.deepEqual(issuer.paths, ['/jwks']);
});

test('verifies a token again by the rules of another route', async (t) => {
  const issuer = await startIssuer(t);
  const subject = subjectFrom(await issuer.token());
  await issuer.verifier.verify(subject, issuer.rules());
  const other = issuer.verifier.verify(subject, issuer.rules({ audience: ['other'] }));
  await assert.rejects(other ?? Promise.resolve(), failsWith('ERR_SUBJECT_TOKEN_INVALID', /"aud" does not match/));
});

test('verifies a token again after five minutes', async (t) => {
  const issuer = await startIssuer(t);
  const token = await issuer.token();
  await issuer.verify(token);
  issuer.keys = [issuerKey('two')];
  issuer.clock.advance(299_000);
  await issuer.verify(token);
  issuer.clock.advance(1001);
  await issuer.verify(token);
  issuer.clock.advance(300_001);
  await issuer.refuses(token);
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

test('accepts any audience with the audience any', async (t) => {
  const issuer = await startIssuer(t);
  await issuer.verify(issuer.token({ aud: 'another' }), issuer.rules({ audience: 'any' }));
});

test('refuses a token with a missing or forged signature', async (t) => {
  const key = issuerKey('one', 'RS256');
  const issuer = await startIssuer(t, key);
  const claims = { iss: issuer.url, aud: 'cambist', exp: Math.floor(issuer.clock.wallMs() / 1000) + 600 };
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const forged = (header: object, secret: string) => {
    const input = `${encode(header)}.${encode(claims)}`;
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
  const discovered = { jwksUri: undefined };
  const misnamed = issuer.rules({ issuer: `${issuer.url}/`, ...discovered });
  await assert.rejects(
    issuer.verifier.prepare(misnamed),
    failsWith('ERR_STS_METADATA_INVALID', /belongs to another issuer/),
  );
  issuer.fault = { kind: 'response', status: 500 };
  await assert.rejects(issuer.verifier.prepare(issuer.rules(discovered)), failsWith('ERR_STS_UNAVAILABLE'));
  issuer.fault = undefined;
  issuer.clock.advance(1000);
  await issuer.verifier.prepare(issuer.rules(discovered));
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
    verifier.verify(subjectFrom(await issuer.token()), rules),
    verifier.verify(subjectFrom(await issuer.token({ jti: 'another' })), rules),
  ]);
  assert.deepEqual(issuer.paths, ['/jwks']);
});
