import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createSubjectReader } from '../../../src/tokens/subject.ts';
import { createSubjectSource } from '../../../src/tokens/subject-source.ts';
import { issuerKey, startIssuer } from './issuer.ts';
import { failsWith, folderOf, jwtOf, routeOf, subjectTokenOf } from './sample.ts';

const CONNECTION = {};

async function setUp(t: TestContext) {
  const key = issuerKey('one');
  const issuer = await startIssuer(t, key);
  const ends: [string, number][] = [];
  const source = createSubjectSource({
    reader: createSubjectReader(),
    verifier: issuer.verifier,
    clock: issuer.clock,
    credentialRead: (...end) => ends.push(end),
  });
  const nowSeconds = issuer.clock.wallMs() / 1000;
  return { key, issuer, ends, source, nowSeconds, folder: folderOf(t) };
}

test('a caller’s token is there at once', async (t) => {
  const { source } = await setUp(t);
  const subject = source(routeOf(), CONNECTION, ['Bearer token']);
  assert.ok(subject !== undefined && !(subject instanceof Promise));
  assert.equal(subject.token.reveal(), 'token');
  assert.equal(source(routeOf(), CONNECTION, []), undefined);
});

test('a caller’s token that has expired is refused before it is verified', async (t) => {
  const { source, issuer, nowSeconds } = await setUp(t);
  const route = routeOf({ subjectToken: subjectTokenOf({ verify: issuer.rules() }) });
  const values = [`Bearer ${jwtOf({ exp: nowSeconds - 10 })}`];
  assert.throws(() => source(route, CONNECTION, values), failsWith('ERR_SUBJECT_TOKEN_INVALID', /expired/));
});

test('a caller’s token is waited for while it is verified, and no longer after that', async (t) => {
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

test('a token from a file is read at each use, and the same content is the same subject', async (t) => {
  const { source, folder, ends, nowSeconds } = await setUp(t);
  const token = (name: string) => jwtOf({ sub: name, exp: nowSeconds + 60 });
  const file = folder.write('token', `${token('one')}\n`);
  const route = routeOf({ subjectToken: subjectTokenOf({ file: { file } }) });
  const first = await source(route, CONNECTION, ['Bearer of-somebody-else']);
  assert.equal(first?.token.reveal(), token('one'));
  assert.equal(await source(route, CONNECTION, []), first);
  folder.write('token', token('two'));
  const second = await source(route, CONNECTION, []);
  assert.equal(second?.token.reveal(), token('two'));
  assert.notEqual(second?.digest, first?.digest);
  assert.deepEqual(ends[0], ['subject token of route "github"', nowSeconds + 60]);
});

test('what is wrong with a token from a file is our own trouble', async (t) => {
  const { source, folder, nowSeconds, issuer } = await setUp(t);
  const cases: [string, RegExp][] = [
    [jwtOf({ exp: nowSeconds - 10 }), /subject token of route "github": it has expired: see why nobody has renewed it/],
    ['two words', /does not hold a token/],
    ['', /is empty/],
    [jwtOf({ cnf: { jkt: 'x' } }), /bound to a key/],
    [jwtOf({ exp: nowSeconds + 60 }), /not what issuer/],
  ];
  for (const [text, message] of cases) {
    const file = folder.write('token', text);
    const route = routeOf({ subjectToken: subjectTokenOf({ file: { file }, verify: issuer.rules() }) });
    await assert.rejects(
      Promise.resolve(source(route, CONNECTION, [])),
      failsWith('ERR_CREDENTIAL_UNAVAILABLE', message),
    );
  }
});

test('a token from a file is verified as well, and a fault of the issuer is none of ours', async (t) => {
  const { source, folder, key, issuer } = await setUp(t);
  const file = folder.write('token', await issuer.sign(key));
  const route = routeOf({ subjectToken: subjectTokenOf({ file: { file }, verify: issuer.rules() }) });
  issuer.fault = { kind: 'reset' };
  await assert.rejects(Promise.resolve(source(route, CONNECTION, [])), failsWith('ERR_STS_UNAVAILABLE'));
  issuer.fault = undefined;
  assert.ok((await source(route, CONNECTION, [])) !== undefined);
});
