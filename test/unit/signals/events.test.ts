import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createLocalJWKSet, type JWTPayload, SignJWT } from 'jose';
import type { Transmitter } from '../../../src/config/signals.ts';
import { CambistError } from '../../../src/errors.ts';
import {
  InvalidSignal,
  LOGOUT_EVENT,
  REVOKING_EVENTS,
  readEvents,
  readLogout,
  readSubjectId,
  type SignalKind,
  VERIFICATION_EVENT,
  verifySignal,
} from '../../../src/signals/events.ts';
import type { IsShared } from '../../../src/signals/publisher.ts';
import { createEventSettler } from '../../../src/signals/settle-events.ts';
import { TransmitterError } from '../../../src/signals/transmitter-client.ts';
import { fuzz } from '../../fuzz/targets/signals.ts';
import { deferred } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { issuerKey } from '../tokens/issuer.ts';

const ISSUER = 'https://idp.example.com';
const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/';
const ALICE = { claim: 'sub', value: 'alice' };
const OF_ALICE = [{ subject: ALICE, session: undefined }];
const OF_EMAIL = [{ subject: { claim: 'email', value: 'a@b.c' }, session: undefined }];
const OF_SESSION = [{ subject: undefined, session: 's1' }];
const S1 = { format: 'opaque', id: 's1' };
const ISS_SUB = { format: 'iss_sub', iss: ISSUER, sub: 'alice' };

const subjects: [what: string, written: unknown, expected: unknown][] = [
  ['an issuer and a subject', ISS_SUB, OF_ALICE],
  ['a draft of it', { subject_type: 'iss-sub', iss: ISSUER, sub: 'alice' }, OF_ALICE],
  ['one without a format', { iss: ISSUER, sub: 'alice' }, OF_ALICE],
  ['an opaque id', { format: 'opaque', id: 'alice' }, OF_ALICE],
  ['an email', { format: 'email', email: 'A@b.c' }, OF_EMAIL],
  ['a user', { format: 'complex', user: ISS_SUB }, OF_ALICE],
  ['a session of a user', { format: 'complex', user: ISS_SUB, session: S1 }, [{ subject: ALICE, session: 's1' }]],
  ["all sessions of a user, as Keycloak's", { user: ISS_SUB, session: { format: 'opaque', id: 'ALL' } }, OF_ALICE],
  ['a session', { format: 'complex', session: S1 }, OF_SESSION],
  ['a device of a user', { format: 'complex', user: ISS_SUB, device: { format: 'opaque', id: 'd' } }, OF_ALICE],
  ['aliases', { format: 'aliases', identifiers: [ISS_SUB, { format: 'phone_number' }] }, OF_ALICE],
  ['a session without a format or a user', { session: S1 }, OF_SESSION],
  ['a session that is malformed', { format: 'complex', user: ISS_SUB, session: 7 }, OF_ALICE],
  ['a draft of an opaque id', { subject_type: 'opaque', id: 'alice' }, OF_ALICE],
  ['a subject that is a number', { ...ISS_SUB, sub: 7 }, []],
  ['an empty subject', { ...ISS_SUB, sub: '' }, []],
  ['an email that is a number', { format: 'email', email: 7 }, []],
  ['aliases among aliases', { format: 'aliases', identifiers: [{ format: 'aliases', identifiers: [ISS_SUB] }] }, []],
  ['aliases that are malformed', { format: 'aliases', identifiers: ['alice', null] }, []],
  ['another issuer', { ...ISS_SUB, iss: 'https://other' }, []],
  ['a phone number', { format: 'phone_number', phone_number: '+1' }, []],
  ['a tenant', { format: 'complex', tenant: { format: 'opaque', id: 't' } }, []],
  ['an empty id', { format: 'opaque', id: '' }, []],
  ['a long id', { format: 'opaque', id: 'x'.repeat(1025) }, []],
  ['nothing', undefined, []],
];
for (const [what, written, expected] of subjects) {
  test(`reads ${what} as the subject of an event`, () => {
    assert.deepEqual(readSubjectId(written, ISSUER), expected);
  });
}

test('reads alternatives of a complex subject, and nothing deeper', () => {
  const user = { format: 'aliases', identifiers: [ISS_SUB] };
  const nested = { format: 'aliases', identifiers: [{ format: 'complex', user }] };
  assert.deepEqual(readSubjectId(nested, ISSUER), OF_ALICE);
  const outer = { format: 'aliases', identifiers: [{ format: 'complex', user: nested }] };
  assert.deepEqual(readSubjectId(outer, ISSUER), []);
  const deep = JSON.parse(`${'{"user":'.repeat(20_000)}{}${'}'.repeat(20_000)}`);
  assert.deepEqual(readSubjectId(deep, ISSUER), []);
});

test('takes the time of an event, else toe, else iat', () => {
  const type = `${CAEP}session-revoked`;
  const at = (claims: Record<string, unknown>, event = {}) =>
    readEvents({ iat: 30, sub_id: ISS_SUB, events: { [type]: event }, ...claims }, ISSUER).revocations[0]?.atMs;
  assert.equal(at({ toe: 20 }, { event_timestamp: 10 }), 10_000);
  assert.equal(at({ toe: 20 }), 20_000);
  assert.equal(at({}), 30_000);
  assert.equal(at({}, { event_timestamp: 1_700_000_000_123 }), 1_700_000_000_123);
  assert.equal(at({}, { event_timestamp: 'now' }), 30_000);
});

test('reads the subject in the event, as drafts have it', () => {
  const events = { [`${CAEP}credential-change`]: { subject: ISS_SUB } };
  assert.deepEqual(readEvents({ iat: 1, events }, ISSUER).revocations, [
    { issuer: ISSUER, subject: ALICE, session: undefined, atMs: 1000 },
  ]);
});

test('ends one session of a user, or all sessions where the event says so', () => {
  const sub_id = { format: 'complex', user: ISS_SUB, session: S1 };
  const of = (type: string) => readEvents({ iat: 1, sub_id, events: { [type]: {} } }, ISSUER);
  for (const [name, type, session] of [
    ['session-revoked', CAEP, 's1'],
    ['sessions-revoked', 'https://schemas.openid.net/secevent/risc/event-type/', undefined],
  ] as const) {
    const { events, revocations } = of(type + name);
    assert.deepEqual([events, revocations.map((each) => each.session)], [[name], [session]]);
  }
});

test('accepts an unknown event and a verification event, with any state, without an effect', () => {
  for (const [type, event, events] of [
    ['https://example.com/x', {}, []],
    ...[{ state: 's' }, {}, { state: 5 }].map((event) => [VERIFICATION_EVENT, event, ['verification']] as const),
  ] as const) {
    assert.deepEqual(readEvents({ sub_id: ISS_SUB, events: { [type]: event } }, ISSUER), { events, revocations: [] });
  }
});

for (const [what, events] of [
  ['none', undefined],
  ['a list', []],
  ['an empty object', {}],
  ['an event that is not an object', { [`${CAEP}session-revoked`]: 'x' }],
  ['too many', Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`https://e/${i}`, {}]))],
] as const) {
  test(`refuses a token whose events are ${what}`, () => {
    assert.throws(() => readEvents({ events } as never, ISSUER), InvalidSignal);
  });
}

test('reads a logout by its session and its subject', () => {
  const claims = { iat: 5, events: { [LOGOUT_EVENT]: {} } };
  const of = (more: Record<string, unknown>) => readLogout({ ...claims, ...more } as never, ISSUER).revocations;
  assert.deepEqual(of({ sub: 'alice' }), [{ issuer: ISSUER, subject: ALICE, session: undefined, atMs: 5000 }]);
  assert.deepEqual(of({ sid: 's' }), [{ issuer: ISSUER, subject: undefined, session: 's', atMs: 5000 }]);
  const events = { 'https://example.com/x': {}, [LOGOUT_EVENT]: {} };
  assert.equal(of({ sub: 'x'.repeat(1024), events }).length, 1);
  const other = { events: { [VERIFICATION_EVENT]: {}, [`${CAEP}session-revoked`]: {} } };
  for (const more of [
    ...[{}, { sub: 'a', nonce: 'n' }, { sub: 5 }, { sid: '' }, { sub: 'a', events: {} }],
    ...[{ sub: 'x'.repeat(1025) }, { sub: 'a', ...other }],
  ]) {
    assert.throws(() => of(more), InvalidSignal, JSON.stringify(more));
  }
});

test('reads or refuses whatever a transmitter signs, and revokes its own subjects alone', () => {
  const name = fc.constantFrom('format', 'iss', 'sub', 'user', 'session', 'id', 'identifiers', 'email');
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom('iss_sub', 'complex', 'opaque', 'aliases', ISSUER));
  const subject = fc.dictionary(name, fc.oneof(value, fc.dictionary(name, value)));
  const type = fc.constantFrom(...REVOKING_EVENTS, 'https://example.com/x');
  fc.assert(
    fc.property(fc.dictionary(type, fc.jsonValue()), subject, fc.jsonValue(), (events, sub_id, iat) => {
      fuzz(Buffer.from(JSON.stringify({ events, sub_id, iat })));
    }),
  );
});

const REVOKED = `${CAEP}session-revoked`;
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

test('applies all events of a poll before it waits until the shared cache has them', async () => {
  const taken: string[] = [];
  const { promise, resolve } = deferred<IsShared>();
  const settler = createEventSettler({
    name: 'idp',
    take: (token) => {
      taken.push(token);
      return promise;
    },
  });
  const settled = settler.settle([
    ['1', 'alice'],
    ['2', 'bob'],
  ]);
  assert.deepEqual(taken, ['alice', 'bob']);
  resolve(() => true);
  assert.equal(await settled, true);
  assert.deepEqual(settler.results(), { ack: ['1', '2'] });
});

test('settles each event by its own result, whichever is known first', async () => {
  const slow = deferred<IsShared>();
  const results: Readonly<Record<string, () => Promise<IsShared>>> = {
    slow: () => slow.promise,
    held: async () => () => false,
    invalid: async () => {
      throw new InvalidSignal('invalid_audience', 'not for cambist');
    },
    keyless: async () => {
      slow.resolve(() => true);
      throw new CambistError('ERR_STS_UNAVAILABLE', 'no keys');
    },
  };
  const settler = createEventSettler({ name: 'idp', take: async (token) => results[token]?.() ?? assert.fail() });
  const sets = Object.keys(results).map((name) => [name, name] as const);
  await assert.rejects(settler.settle(sets), (error) => error instanceof TransmitterError && error.problem === 'keys');
  assert.equal(settler.held, 1);
  assert.deepEqual(settler.results(), {
    ack: ['slow'],
    setErrs: { invalid: { err: 'invalid_audience', description: 'not for cambist' } },
  });
});

test('acknowledges each event as soon as the shared cache has it, whatever else waits', async () => {
  const shared = new Set<string>();
  const settler = createEventSettler({ name: 'idp', take: async (token) => () => shared.has(token) });
  const sets = ['alice', 'bob', 'carol'].map((name) => [name, name] as const);
  await settler.settle(sets);
  assert.deepEqual([settler.results(), settler.held], [{}, 3]);
  shared.add('bob');
  assert.deepEqual([settler.results(), settler.held], [{ ack: ['bob'] }, 2]);
  // It comes again, because the transmitter does not know that yet, and is not applied again.
  await settler.settle(sets.slice(0, 1));
  assert.deepEqual([settler.results(), settler.held], [{ ack: ['bob'] }, 2]);
});
