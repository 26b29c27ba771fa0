import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLocalJWKSet, type JWTPayload, SignJWT } from 'jose';
import type { Transmitter } from '../../../src/config/signals.ts';
import { InvalidSignal, LOGOUT_EVENT } from '../../../src/signals/events.ts';
import { type SignalKind, verifySignal } from '../../../src/signals/verify-signal.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { issuerKey } from '../tokens/issuer.ts';

const ISSUER = 'https://idp.example.com';
const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked';
const key = issuerKey('one');
const keys = { prepare: async () => {}, find: createLocalJWKSet({ keys: [key.jwk as { kty: string }] }) };
const clock = createFakeClock();
const nowSeconds = clock.wallMs() / 1000;

interface Changes {
  readonly claims?: Record<string, unknown>;
  readonly typ?: string | undefined;
  readonly by?: typeof key;
}

/** Signs a good token of a kind with some changes. @returns the names of its events, or the reason why it was refused */
async function verified(kind: SignalKind, { claims, by = key, ...header }: Changes = {}): Promise<string> {
  const own = kind === 'logout' ? { sub: 'alice', exp: nowSeconds + 60, events: { [LOGOUT_EVENT]: {} } } : {};
  const event = { sub_id: { iss: ISSUER, sub: 'alice' }, events: { [REVOKED]: {} } };
  const base = { iss: ISSUER, aud: 'cambist', iat: nowSeconds, jti: 'id', ...(kind === 'event' ? event : own) };
  const typ = 'typ' in header ? header.typ : kind === 'event' ? 'secevent+jwt' : 'logout+jwt';
  const token = await new SignJWT({ ...base, ...claims } as JWTPayload)
    .setProtectedHeader({ alg: by.alg, kid: 'one', ...(typ !== undefined && { typ }) })
    .sign(by.privateKey);
  const transmitter = { issuer: ISSUER, audience: ['other', 'cambist'] } as unknown as Transmitter;
  try {
    return (await verifySignal(token, kind, transmitter, keys, clock)).events.join();
  } catch (error) {
    assert.ok(error instanceof InvalidSignal, String(error));
    return `${error.err}: ${error.message}`;
  }
}

test('accepts signals of the transmitter, with the types of their kind alone', async () => {
  assert.equal(await verified('event'), 'session-revoked');
  assert.equal(await verified('event', { typ: 'application/SecEvent+JWT' }), 'session-revoked');
  for (const typ of ['logout+jwt', 'JWT', 'application/jwt', undefined]) {
    assert.equal(await verified('logout', { typ }), 'backchannel-logout', typ);
  }
  for (const typ of ['logout+jwt', 'jwt', 'at+jwt', undefined]) {
    assert.match(await verified('event', { typ }), /^invalid_request: its typ/, typ);
  }
  for (const typ of ['secevent+jwt', 'at+jwt']) assert.match(await verified('logout', { typ }), /its typ/, typ);
});

test('refuses signals of others, and says which part is wrong', async () => {
  for (const kind of ['event', 'logout'] as const) {
    assert.match(await verified(kind, { by: issuerKey('one') }), /^invalid_key: its signature is wrong/);
    assert.match(await verified(kind, { claims: { iss: 'https://other' } }), /^invalid_issuer/);
    assert.match(await verified(kind, { claims: { aud: 'x' } }), /^invalid_audience/);
    assert.match(await verified(kind, { claims: { exp: nowSeconds - 6 } }), /^invalid_request: it is expired/);
  }
});

test('requires an id, a time that is not in the future, and an expiry of a logout', async () => {
  for (const kind of ['event', 'logout'] as const) {
    for (const claims of [{ jti: undefined }, { jti: 7 }, { iat: undefined }, { iat: 'now' }]) {
      assert.match(await verified(kind, { claims }), /^invalid_request/, JSON.stringify(claims));
    }
    assert.doesNotMatch(await verified(kind, { claims: { iat: nowSeconds + 300 } }), /invalid/);
    assert.match(await verified(kind, { claims: { iat: nowSeconds + 301 } }), /in the future/);
  }
  assert.match(await verified('logout', { claims: { exp: undefined } }), /^invalid_request/);
});
