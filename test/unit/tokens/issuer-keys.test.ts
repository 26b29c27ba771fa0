import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createIssuerKeys } from '../../../src/tokens/jwks.ts';
import { deferred } from '../../harness/eventually.ts';
import { type Issuer, issuerKey, startIssuer } from './issuer.ts';
import { failsWith, settle } from './sample.ts';

/** Sends a token signed by a key with a new id, which the issuer does not have. */
async function sendUnknownKey(issuer: Issuer, kid = `unknown-${Math.random()}`): Promise<void> {
  await issuer.refuses(issuer.sign(issuerKey(kid)), /no key of the issuer matches/);
}

test('fetches a new key of the issuer when a token uses it', async (t) => {
  const [old, next] = [issuerKey('one'), issuerKey('two')];
  const issuer = await startIssuer(t, old);
  await issuer.verify(issuer.sign(old));
  issuer.keys = [old, next];
  await issuer.verify(issuer.sign(next));
  await issuer.verify(issuer.sign(old, { jti: 'another' }));
  assert.equal(issuer.paths.length, 2);
});

test('refuses a key set of more than 100 keys, each of which a made-up token would try', async (t) => {
  const key = issuerKey(undefined);
  const issuer = await startIssuer(t, ...Array.from({ length: 101 }, () => key));
  await issuer.refuses(issuer.sign(key), /it has 101 keys: the limit is 100/, 'ERR_STS_UNAVAILABLE');
});

test('a flood of unknown key ids delays a new key by a second at most', async (t) => {
  const [old, next] = [issuerKey('one'), issuerKey('two')];
  const issuer = await startIssuer(t, old);
  for (let i = 0; i < 20; i += 1) await sendUnknownKey(issuer);
  issuer.keys = [old, next];
  for (let i = 0; i < 4; i += 1) {
    await issuer.refuses(issuer.sign(next));
    issuer.clock.advance(250);
    if (i < 3) await sendUnknownKey(issuer);
  }
  await issuer.verify(issuer.sign(next));
});

test('unknown key ids cause one fetch a second', async (t) => {
  const issuer = await startIssuer(t);
  await issuer.verify();
  for (let second = 0; second < 30; second += 1) {
    for (let i = 0; i < 3; i += 1) await sendUnknownKey(issuer);
    issuer.clock.advance(1000);
  }
  assert.equal(issuer.paths.length, 1 + 30);
});

test('many unknown key ids at once share one fetch', async (t) => {
  const issuer = await startIssuer(t);
  await issuer.verify();
  const tokens = await Promise.all(Array.from({ length: 50 }, (_, i) => issuer.sign(issuerKey(`unknown-${i}`))));
  const gate = deferred<void>();
  const body = { keys: issuer.keys.map(({ jwk }) => jwk) };
  issuer.fault = { kind: 'response', status: 200, body, until: gate.promise };
  const all = tokens.map((token) => issuer.refuses(token));
  while (issuer.paths.length < 2) await settle();
  for (let i = 0; i < 20; i += 1) await settle();
  gate.resolve();
  await Promise.all(all);
  assert.equal(issuer.paths.length, 2);
});

test('does not call a token invalid while its key cannot be looked up', async (t) => {
  const issuer = await startIssuer(t);
  await issuer.verify();
  issuer.fault = { kind: 'response', status: 500 };
  for (let i = 0; i < 10; i += 1) {
    await issuer.refuses(issuer.sign(issuerKey(`new-${i}`)), undefined, 'ERR_STS_UNAVAILABLE');
  }
  issuer.fault = undefined;
  issuer.clock.advance(10_000);
  await sendUnknownKey(issuer);
});

for (const [fault, says] of [
  [{ kind: 'response', status: 500 }, /the request for its keys returned status 500/],
  [{ kind: 'response', status: 200, body: '<html></html>' }, /its keys cannot be fetched/],
  [{ kind: 'response', status: 200, body: { no: 'keys' } }, /its keys cannot be fetched/],
  [{ kind: 'response', status: 302, headers: { location: '/elsewhere' } }, /returned status 302/],
  [{ kind: 'reset' }, /its keys cannot be fetched/],
] as const) {
  test(`returns ERR_STS_UNAVAILABLE while the keys are unavailable: ${JSON.stringify(fault)}`, async (t) => {
    const issuer = await startIssuer(t);
    issuer.fault = fault;
    const token = await issuer.token();
    for (let i = 0; i < 20; i += 1) await issuer.refuses(token, says, 'ERR_STS_UNAVAILABLE');
    assert.equal(issuer.paths.length, 1, 'not every caller reaches an issuer that is down');
    const isPassing = !('status' in fault) || fault.status === 500;
    const code = isPassing ? 'ERR_STS_UNAVAILABLE' : 'ERR_STS_METADATA_INVALID';
    await assert.rejects(issuer.verify(token, issuer.rules({ jwksUri: undefined })), failsWith(code));
    issuer.fault = undefined;
    issuer.clock.advance(1000);
    await issuer.verify(token);
  });
}

test('asks an issuer that stays down ever less often, and again once a second when it is back', async (t) => {
  const issuer = await startIssuer(t);
  await issuer.verify();
  const fetchesIn = async (seconds: number) => {
    const before = issuer.paths.length;
    for (let second = 0; second < seconds; second += 1) {
      await assert.rejects(issuer.verify(issuer.sign(issuerKey(`unknown-${second}`))));
      issuer.clock.advance(1000);
    }
    return issuer.paths.length - before;
  };
  issuer.fault = { kind: 'response', status: 503 };
  // At 0, 1, 3, 7, 15 and 31 s.
  assert.equal(await fetchesIn(60), 6);
  issuer.fault = undefined;
  issuer.clock.advance(32_000);
  assert.equal(await fetchesIn(3), 3);
});

test('fetches keys again after ten minutes, and keeps the cached keys when that fails', async (t) => {
  const issuer = await startIssuer(t);
  await issuer.verify();
  issuer.clock.advance(600_000);
  issuer.fault = { kind: 'reset' };
  await issuer.verify();
  await issuer.verify(issuer.token({ jti: 'another' }));
  assert.equal(issuer.paths.length, 2);
  issuer.fault = undefined;
  issuer.clock.advance(30_000);
  issuer.keys = [issuerKey('two')];
  await issuer.refuses(issuer.token());
});

test('refuses a token whose key the issuer deleted 15 minutes ago, however often the token was sent', async (t) => {
  const issuer = await startIssuer(t);
  const token = await issuer.token({ exp: issuer.clock.wallMs() / 1000 + 3600 });
  await issuer.verify(token);
  issuer.keys = [issuerKey('two')];
  for (let minute = 0; minute < 15; minute += 1) {
    issuer.clock.advance(60_000);
    await issuer.verify(token).catch(() => {});
  }
  await issuer.refuses(token, /no key of the issuer matches/);
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
