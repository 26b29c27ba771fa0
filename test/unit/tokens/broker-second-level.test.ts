import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { KeyedRequest, Session } from '../../../src/tokens/session.ts';
import type { SecondLevel } from '../../../src/tokens/shared-token.ts';
import { routeOf, settle } from './sample.ts';
import { ALICE, bearerOf, refusalOf, setUpBroker, tokenOf } from './scripted-endpoint.ts';

const route = routeOf({ stepUp: ['write'] });
const alice: Session = { ...ALICE, id: 'one' };
const initial: Session = { ...alice, id: undefined };

/** A second level that records its calls, and passes each exchange on. */
function recordingLevel() {
  const calls: string[] = [];
  const entries: KeyedRequest[] = [];
  let ended: (key: string) => void = () => {};
  const note = (name: string) => (entry: KeyedRequest, token?: IssuedToken) => {
    entries.push(entry);
    const bearer = token === undefined ? '' : ` ${token.authorization.reveal()}`;
    calls.push(`${name}${bearer}${entry.added.map((scope) => ` +${scope}`).join('')}`);
  };
  const level: SecondLevel = {
    async obtain(entry, exchange, replaced) {
      note(replaced === undefined ? 'obtain' : 'refresh')(entry, replaced);
      return { token: await exchange(), added: entry.added, isShared: false };
    },
    dropRefused: note('refuse'),
    give: note('give'),
    release: note('release'),
    endSession: note('end'),
    onSessionEnded(listener) {
      ended = listener;
    },
  };
  return { level, calls, entries, end: (key: string) => ended(key) };
}

/** A broker with a second level, and its token for a session. */
async function setUp(session = alice) {
  const recording = recordingLevel();
  const setup = setUpBroker({ second: recording.level });
  const lookup = setup.broker.lookUp(route, session);
  await setup.issue(1, 'token', 100);
  return { ...recording, ...setup, lookup, token: await tokenOf(lookup) };
}

test('asks the second level on a miss, and never on a hit', async () => {
  const { broker, calls, entries, token } = await setUp();
  assert.equal(token.authorization.reveal(), 'Bearer token');
  for (let call = 0; call < 3; call += 1) assert.equal(broker.lookUp(route, alice).result, 'hit');
  assert.deepEqual(calls, ['obtain']);
  const [entry] = entries;
  assert.equal(entry?.session.subject, alice.subject);
});

test('a refresh names the token that it replaces', async () => {
  const { broker, calls, fail, clock, evictions } = await setUp();
  clock.advance(80_000);
  assert.equal(broker.lookUp(route, alice).result, 'hit');
  await fail(2, refusalOf('ERR_SUBJECT_TOKEN_INVALID'));
  await settle();
  assert.deepEqual(calls, ['obtain', 'refresh Bearer token', 'refuse Bearer token']);
  assert.deepEqual(evictions, ['refused']);
});

test('tells the second level of refused tokens and sessions', async () => {
  const { broker, issue, token, calls } = await setUp(initial);
  broker.openSession(route, initial, 'one', token);
  broker.dropRefused(route, alice, token);
  broker.lookUp(route, alice);
  await issue(2, 'next');
  broker.endSession(route, alice, 'client');
  const moved = ['obtain', 'release Bearer token', 'give Bearer token'];
  assert.deepEqual(calls, [...moved, 'refuse Bearer token', 'obtain', 'end']);
});

test('a step-up asks for a token with the scopes, under the key of the plain token', async () => {
  const { broker, issue, token, calls, entries } = await setUp();
  const wider = broker.stepUp(route, alice, token, ['write']);
  await issue(2, 'wide');
  assert.equal((await wider)?.token.authorization.reveal(), 'Bearer wide');
  assert.deepEqual(calls, ['obtain', 'obtain +write']);
  assert.equal(entries[1]?.key, entries[0]?.key);
});

test('drops the token of a session that another replica ended, and keeps none that is in flight', async () => {
  const { broker, issue, entries, end, evictions } = await setUp();
  end(entries[0]?.key ?? '');
  assert.deepEqual(evictions, ['session_ended']);
  const again = broker.lookUp(route, alice);
  assert.equal(again.result, 'miss');
  end(entries[0]?.key ?? '');
  await issue(2, 'late');
  assert.equal(await bearerOf(again), 'Bearer late');
  assert.equal(broker.lookUp(route, alice).result, 'miss');
});

test('drops a refused token that the second level returned again meanwhile', async () => {
  const recording = recordingLevel();
  const shared: IssuedToken[] = [];
  const level: SecondLevel = {
    ...recording.level,
    async obtain(_entry, exchange) {
      const [known] = shared;
      if (known !== undefined)
        return { token: { ...known, authorization: new Secret('Bearer token') }, added: [], isShared: true };
      shared.push(await exchange());
      return { token: shared[0] as IssuedToken, added: [], isShared: true };
    },
  };
  const { broker, issue, evictions } = setUpBroker({ second: level });
  const first = broker.lookUp(route, alice);
  await issue(1, 'token');
  const sent = await tokenOf(first);
  broker.dropSubjects(new Set([alice.subject?.digest ?? '']));
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer token');
  await settle();
  assert.equal(broker.dropRefused(route, alice, sent), true);
  assert.deepEqual(evictions, ['revoked', 'refused']);
  assert.equal(broker.lookUp(route, alice).result, 'miss');
});

test('tells a token of another replica from one that it exchanged', async () => {
  const { level, lookup, lookups, token } = await setUp();
  assert.ok(lookup.result === 'miss');
  assert.equal(lookup.settled(), 'miss');
  const found = setUpBroker({ second: { ...level, obtain: async () => ({ token, added: [], isShared: true }) } });
  const again = found.broker.lookUp(route, alice);
  assert.equal(found.broker.lookUp(route, alice).result, 'joined');
  await tokenOf(again);
  assert.ok(again.result === 'miss');
  assert.equal(again.settled(), 'shared');
  assert.deepEqual([...lookups, ...found.lookups].sort(), ['github joined', 'github miss', 'github shared']);
});
