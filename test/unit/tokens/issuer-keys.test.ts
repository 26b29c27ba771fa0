import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createIssuerKeys, createRateLimit } from '../../../src/tokens/jwks.ts';
import { deferred } from '../../harness/deferred.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { type Issuer, type IssuerKey, issuerKey, startIssuer } from './issuer.ts';
import { failsWith, settle } from './sample.ts';

const _wrong: [what: string, claims: Record<string, unknown>, message: RegExp][] = [
  ['of another issuer', { iss: 'https://evil.example.com' }, /"iss" does not match/],
  ['without an issuer', { iss: undefined }, /"iss" does not match/],
  ['for another audience', { aud: 'other' }, /"aud" does not match/],
  ['without an audience', { aud: undefined }, /"aud" does not match/],
  ['without an expiry', { exp: undefined }, /"exp" does not match/],
];

/** Sends a token signed by a key with a new id, which the issuer does not have. */
async function sendUnknownKey(issuer: Issuer, kid = `unknown-${Math.random()}`): Promise<void> {
  const token = await issuer.sign(issuerKey(kid));
  await assert.rejects(issuer.verify(token), failsWith('ERR_SUBJECT_TOKEN_INVALID', /no key of the issuer matches/));
}

test('fetches a new key of the issuer when a token uses it', async (t) => {
  const [old, next] = [issuerKey('one'), issuerKey('two')];
  const issuer = await startIssuer(t, old);
  await issuer.verify(await issuer.sign(old));
  issuer.keys = [old, next];
  await issuer.verify(await issuer.sign(next));
  await issuer.verify(await issuer.sign(old, { jti: 'another' }));
  assert.equal(issuer.paths.length, 2);
});

test('refuses a key set of more than 100 keys, each of which a made-up token would try', async (t) => {
  const key = issuerKey(undefined);
  const issuer = await startIssuer(t, ...Array.from({ length: 101 }, () => key));
  const token = await issuer.sign(key);
  await assert.rejects(issuer.verify(token), failsWith('ERR_STS_UNAVAILABLE', /it has 101 keys: the limit is 100/));
});

test('an unknown key id does not delay a new key of the issuer', async (t) => {
  const [old, next] = [issuerKey('one'), issuerKey('two')];
  const issuer = await startIssuer(t, old);
  await sendUnknownKey(issuer);
  issuer.keys = [old, next];
  await issuer.verify(await issuer.sign(next));
});

test('a flood of unknown key ids delays a new key by two seconds at most', async (t) => {
  const [old, next] = [issuerKey('one'), issuerKey('two')];
  const issuer = await startIssuer(t, old);
  for (let i = 0; i < 20; i += 1) await sendUnknownKey(issuer);
  issuer.keys = [old, next];
  for (let i = 0; i < 4; i += 1) {
    issuer.clock.advance(500);
    await issuer.verify(await issuer.sign(issuerKey(`unknown-${i}`))).catch(() => {});
  }
  await issuer.verify(await issuer.sign(next));
});

test('an id sent before its key exists does not delay that key', async (t) => {
  const [old, next] = [issuerKey('one'), issuerKey('two')];
  const issuer = await startIssuer(t, old);
  for (let i = 0; i < 20; i += 1) await sendUnknownKey(issuer, 'two');
  issuer.keys = [old, next];
  issuer.clock.advance(2000);
  await issuer.verify(await issuer.sign(next));
});

test('unknown key ids cause one fetch in two seconds, after a burst of five', async (t) => {
  const issuer = await startIssuer(t, issuerKey('one'));
  for (let i = 0; i < 20; i += 1) await sendUnknownKey(issuer);
  assert.equal(issuer.paths.length, 1 + 5);
  for (let second = 0; second < 60; second += 1) {
    issuer.clock.advance(1000);
    for (let i = 0; i < 3; i += 1) await sendUnknownKey(issuer);
  }
  assert.equal(issuer.paths.length, 1 + 5 + 30);
});

test('one unknown key id does not use up the burst', async (t) => {
  const issuer = await startIssuer(t, issuerKey('one'));
  for (let second = 0; second < 30; second += 1) {
    for (let i = 0; i < 3; i += 1) await sendUnknownKey(issuer, 'withdrawn');
    issuer.clock.advance(1000);
  }
  assert.equal(issuer.paths.length, 1 + 15);
  for (let i = 0; i < 3; i += 1) await sendUnknownKey(issuer);
  assert.equal(issuer.paths.length, 1 + 15 + 3);
});

test('many unknown key ids at once share one fetch', async (t) => {
  const issuer = await startIssuer(t, issuerKey('one'));
  await issuer.verify(await issuer.sign(issuer.keys[0] as IssuerKey));
  const tokens = await Promise.all(Array.from({ length: 50 }, (_, i) => issuer.sign(issuerKey(`unknown-${i}`))));
  const gate = deferred<void>();
  const body = { keys: issuer.keys.map(({ jwk }) => jwk) };
  issuer.fault = { kind: 'response', status: 200, body, until: gate.promise };
  const all = tokens.map((token) => assert.rejects(issuer.verify(token), failsWith('ERR_SUBJECT_TOKEN_INVALID')));
  while (issuer.paths.length < 2) await settle();
  for (let i = 0; i < 20; i += 1) await settle();
  gate.resolve();
  await Promise.all(all);
  assert.equal(issuer.paths.length, 2);
});

test('does not call a token invalid while its key cannot be looked up', async (t) => {
  const issuer = await startIssuer(t, issuerKey('one'));
  await issuer.verify(await issuer.sign(issuer.keys[0] as IssuerKey));
  issuer.fault = { kind: 'response', status: 500 };
  for (let i = 0; i < 10; i += 1) {
    const token = await issuer.sign(issuerKey(`new-${i}`));
    await assert.rejects(issuer.verify(token), failsWith('ERR_STS_UNAVAILABLE'));
  }
  issuer.fault = undefined;
  issuer.clock.advance(10_000);
  await sendUnknownKey(issuer);
});

test('finds the matching key among keys without an id', async (t) => {
  const keys = [issuerKey(undefined), issuerKey(undefined), issuerKey(undefined)] as const;
  const issuer = await startIssuer(t, ...keys);
  await issuer.verify(await issuer.sign(keys[2]));
  await assert.rejects(
    issuer.verify(await issuer.sign(keys[1], { aud: 'other' })),
    failsWith('ERR_SUBJECT_TOKEN_INVALID', /"aud" does not match/),
  );
  await assert.rejects(
    issuer.verify(await issuer.sign(issuerKey(undefined))),
    failsWith('ERR_SUBJECT_TOKEN_INVALID', /signature is wrong/),
  );
});

for (const status of [301, 302, 307, 308]) {
  test(`does not follow a redirect ${status} of the keys or of the metadata`, async (t) => {
    const key = issuerKey('one');
    const issuer = await startIssuer(t, key);
    const elsewhere = await startIssuer(t, key);
    issuer.fault = { kind: 'response', status, headers: { location: `${elsewhere.url}/jwks` } };
    const message = new RegExp(`returned status ${status}`);
    const missing = new RegExp(`no metadata at .*\\(${status}\\)`);
    const token = await issuer.sign(key);
    await assert.rejects(issuer.verify(token), failsWith('ERR_STS_UNAVAILABLE', message));
    const discovered = issuer.verify(token, issuer.rules({ jwksUri: undefined, audience: 'any', ca: '/other' }));
    await assert.rejects(discovered, failsWith('ERR_STS_METADATA_INVALID', missing));
    assert.equal(elsewhere.paths.length, 0);
  });
}

test('finds the keys by the metadata of the issuer', async (t) => {
  const key = issuerKey('one');
  const issuer = await startIssuer(t, key);
  await issuer.verify(await issuer.sign(key), issuer.rules({ jwksUri: undefined }));
  assert.deepEqual(issuer.paths, ['/.well-known/oauth-authorization-server', '/jwks']);
});

for (const fault of [
  { kind: 'response', status: 500 },
  { kind: 'response', status: 200, body: '<html></html>' },
  { kind: 'response', status: 200, body: { no: 'keys' } },
  { kind: 'response', status: 302, headers: { location: '/elsewhere' } },
  { kind: 'huge', bytes: 300_000 },
  { kind: 'reset' },
] as const) {
  test(`returns ERR_STS_UNAVAILABLE while the keys are unavailable: ${JSON.stringify(fault)}`, async (t) => {
    const key = issuerKey('one');
    const issuer = await startIssuer(t, key);
    issuer.fault = fault;
    const token = await issuer.sign(key);
    await assert.rejects(issuer.verify(token), failsWith('ERR_STS_UNAVAILABLE'));
    const isPassing = !('status' in fault) || fault.status === 500;
    const code = isPassing ? 'ERR_STS_UNAVAILABLE' : 'ERR_STS_METADATA_INVALID';
    await assert.rejects(issuer.verify(token, issuer.rules({ jwksUri: undefined })), failsWith(code));
    issuer.fault = undefined;
    await issuer.verify(token);
  });
}

test('does not send every caller to an issuer that is down', async (t) => {
  const issuer = await startIssuer(t, issuerKey('one'));
  issuer.fault = { kind: 'response', status: 503 };
  const tokens = await Promise.all(
    Array.from({ length: 20 }, (_, i) => issuer.sign(issuerKey('one'), { jti: `${i}` })),
  );
  for (const token of tokens) await assert.rejects(issuer.verify(token), failsWith('ERR_STS_UNAVAILABLE'));
  assert.equal(issuer.paths.length, 3);
});

test('twenty concurrent callers share one fetch', async (t) => {
  const key = issuerKey('one');
  const issuer = await startIssuer(t, key);
  const tokens = await Promise.all(Array.from({ length: 20 }, (_, i) => issuer.sign(key, { jti: `${i}` })));
  await Promise.all(tokens.map((token) => issuer.verify(token)));
  assert.equal(issuer.paths.length, 1);
});

test('fetches keys again after ten minutes, and keeps the cached keys when that fails', async (t) => {
  const key = issuerKey('one');
  const issuer = await startIssuer(t, key);
  await issuer.verify(await issuer.sign(key));
  issuer.clock.advance(600_000);
  issuer.fault = { kind: 'reset' };
  await issuer.verify(await issuer.sign(key));
  await issuer.verify(await issuer.sign(key, { jti: 'another' }));
  assert.equal(issuer.paths.length, 2);
  issuer.fault = undefined;
  issuer.clock.advance(30_000);
  issuer.keys = [issuerKey('two')];
  await assert.rejects(issuer.verify(await issuer.sign(key)), failsWith('ERR_SUBJECT_TOKEN_INVALID'));
});

test('names the limit that a fetch of keys exceeded', async () => {
  const source = { issuer: 'https://sts.example.com', jwksUri: undefined, allowInsecureHttp: false };
  const late = () => Promise.reject(new DOMException('late', 'TimeoutError'));
  await assert.rejects(
    createIssuerKeys(source, late, systemClock).prepare(),
    failsWith(
      'ERR_STS_UNAVAILABLE',
      /^issuer "https:\/\/sts\.example\.com": its keys did not arrive within 5s: allow connections to it/,
    ),
  );
});

function setUp() {
  const clock = createFakeClock();
  const admit = createRateLimit(3, 1000, clock);
  const admitted = (events: number) => Array.from({ length: events }, admit).filter(Boolean).length;
  return { clock, admitted };
}

test('admits a burst, and then refuses', () => {
  const { admitted } = setUp();
  assert.equal(admitted(10), 3);
  assert.equal(admitted(10), 0);
});

test('admits one event in each interval after a burst', () => {
  const { clock, admitted } = setUp();
  admitted(3);
  clock.advance(999);
  assert.equal(admitted(1), 0);
  clock.advance(1);
  assert.equal(admitted(5), 1);
  clock.advance(2000);
  assert.equal(admitted(5), 2);
});

test('admits no more than a burst after a long time', () => {
  const { clock, admitted } = setUp();
  admitted(3);
  clock.advance(3_600_000);
  assert.equal(admitted(10), 3);
});
