import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import { createRevocations } from '../../../src/tokens/revocations.ts';
import { createSubjectReader, type Subject } from '../../../src/tokens/subject.ts';
import { createSubjectSource } from '../../../src/tokens/subject-source.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { issuerKey, startIssuer } from './issuer.ts';
import { failsWith, folderOf, jwtOf, routeOf, subjectTokenOf } from './sample.ts';

const CONNECTION = {};

async function setUp(t: TestContext) {
  const key = issuerKey('one');
  const issuer = await startIssuer(t, key);
  const expiries: [string, number][] = [];
  const source = createSubjectSource({
    reader: createSubjectReader(),
    verifier: issuer.verifier,
    clock: issuer.clock,
    credentialRead: (...expiry) => expiries.push(expiry),
  });
  const nowSeconds = issuer.clock.wallMs() / 1000;
  return { key, issuer, expiries, source, nowSeconds, folder: folderOf(t) };
}

test('returns a caller’s token synchronously', async (t) => {
  const { source } = await setUp(t);
  const subject = source(routeOf(), CONNECTION, ['Bearer token']);
  assert.ok(subject !== undefined && !(subject instanceof Promise));
  assert.equal(subject.token.reveal(), 'token');
  assert.equal(source(routeOf(), CONNECTION, []), undefined);
});

test('refuses an expired caller’s token before its verification', async (t) => {
  const { source, issuer, nowSeconds } = await setUp(t);
  const route = routeOf({ subjectToken: subjectTokenOf({ verify: issuer.rules() }) });
  const values = [`Bearer ${jwtOf({ exp: nowSeconds - 10 })}`];
  assert.throws(() => source(route, CONNECTION, values), failsWith('ERR_SUBJECT_TOKEN_INVALID', /expired/));
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
  const route = routeOf({ subjectToken: subjectTokenOf({ verify: {} as SubjectVerification }) });
  assert.ok(source(route, {}, ['Bearer opaque']));
  clock.jumpWall(60_000);
  assert.throws(() => source(route, {}, ['Bearer opaque']), failsWith('ERR_SUBJECT_TOKEN_INVALID', /expired/));
});

test('returns a promise until a caller’s token is verified', async (t) => {
  const { source, issuer, key } = await setUp(t);
  const route = routeOf({ subjectToken: subjectTokenOf({ verify: issuer.rules() }) });
  const values = [`Bearer ${await issuer.sign(key)}`];
  const first = source(route, CONNECTION, values);
  assert.ok(first instanceof Promise);
  assert.equal(source(route, CONNECTION, values) instanceof Promise, true);
  assert.equal(await first, source(route, CONNECTION, values));
  const bad = source(route, CONNECTION, [`Bearer ${await issuer.sign(key, { aud: 'x' })}`]);
  await assert.rejects(Promise.resolve(bad), failsWith('ERR_SUBJECT_TOKEN_INVALID'));
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
  const verified = routeOf({ subjectToken: subjectTokenOf({ verify: {} as SubjectVerification }) });
  const subject = { claim: 'sub', value: 'alice' } as const;
  revocations.revoke({ issuer, subject, session: undefined, atMs: clock.wallMs() });
  const isRevoked = failsWith('ERR_SUBJECT_TOKEN_INVALID', /revoked/);
  assert.throws(() => source(routeOf(), {}, values), isRevoked);
  assert.throws(() => source(verified, {}, values), isRevoked);
  verifying = Promise.resolve();
  await assert.rejects(Promise.resolve(source(verified, {}, values)), isRevoked);
});

test('reads a token file at each use, and returns the same subject for the same content', async (t) => {
  const { source, folder, expiries, nowSeconds } = await setUp(t);
  const token = (name: string) => jwtOf({ sub: name, exp: nowSeconds + 60 });
  const file = folder.write('token', `${token('one')}\n`);
  const route = routeOf({ subjectToken: subjectTokenOf({ own: { file } }) });
  const first = await source(route, CONNECTION, ['Bearer of-another-caller']);
  assert.equal(first?.token.reveal(), token('one'));
  assert.equal(await source(route, CONNECTION, []), first);
  folder.write('token', token('two'));
  const second = await source(route, CONNECTION, []);
  assert.equal(second?.token.reveal(), token('two'));
  assert.notEqual(second?.digest, first?.digest);
  assert.deepEqual(expiries[0], ['subject token of route "github"', nowSeconds + 60]);
});

test('reports a problem with a token file as ERR_CREDENTIAL_UNAVAILABLE', async (t) => {
  const { source, folder, nowSeconds, issuer } = await setUp(t);
  const cases: [string, RegExp][] = [
    [
      jwtOf({ exp: nowSeconds - 10 }),
      /subject token of route "github": it is expired: check the process that renews it/,
    ],
    ['two words', /contains no token/],
    ['', /is empty/],
    [jwtOf({ cnf: { jkt: 'x' } }), /bound to a key/],
    [jwtOf({ exp: nowSeconds + 60 }), /not a valid token of issuer/],
  ];
  for (const [text, message] of cases) {
    const file = folder.write('token', text);
    const route = routeOf({ subjectToken: subjectTokenOf({ own: { file }, verify: issuer.rules() }) });
    await assert.rejects(
      Promise.resolve(source(route, CONNECTION, [])),
      failsWith('ERR_CREDENTIAL_UNAVAILABLE', message),
    );
  }
});

test('verifies a token from a file, and reports a fault of the issuer as such', async (t) => {
  const { source, folder, key, issuer } = await setUp(t);
  const file = folder.write('token', await issuer.sign(key));
  const route = routeOf({ subjectToken: subjectTokenOf({ own: { file }, verify: issuer.rules() }) });
  issuer.fault = { kind: 'reset' };
  await assert.rejects(Promise.resolve(source(route, CONNECTION, [])), failsWith('ERR_STS_UNAVAILABLE'));
  issuer.fault = undefined;
  issuer.clock.advance(1000);
  assert.ok((await source(route, CONNECTION, [])) !== undefined);
});
