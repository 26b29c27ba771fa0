import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import { CambistError } from '../../../src/errors.ts';
import { createHandles } from '../../../src/inbound/handles.ts';
import { createForeignHandles } from '../../../src/inbound/verify-caller.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { StoreKeyList } from '../../../src/shared-cache/seal.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { createFakeClock, type FakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { NEW_KEY, OLD_KEY, startReplica } from '../shared-cache/replica.ts';
import { jwtOf } from '../tokens/sample.ts';

const RULES = {} as SubjectVerification;
const PEER = () => '127.0.0.1';

/** The handles of one replica. */
async function start(t: TestContext, server: MemoryStore, clock: FakeClock, keys?: StoreKeyList) {
  const { handles: shared, counted } = await startReplica(t, server, { clock, ...(keys && { keys }) });
  const handles = createHandles(2, clock, () => {}, shared.digestOf);
  const verified: string[] = [];
  const setup = { refusal: undefined as CambistError | undefined };
  const find = createForeignHandles({
    shared,
    handles,
    verifier: {
      prepare: async () => {},
      forget: () => {},
      async verify({ digest }) {
        verified.push(digest);
        if (setup.refusal !== undefined) throw setup.refusal;
      },
    },
    rules: () => RULES,
    clock,
  });
  const give = async (token: string): Promise<string> => {
    const subject = toSubject(token);
    const { handle } = handles.hold(subject);
    await shared.share(handle.text, subject.token, clock.wallMs() + 60_000);
    return handle.text;
  };
  return { handles, shared, find, give, verified, setup, counted };
}

async function startPair(t: TestContext) {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const [one, other] = [await start(t, server, clock), await start(t, server, clock)];
  return { server, clock, one, other };
}

const tokenFor = (clock: FakeClock, name: string): string =>
  jwtOf({ sub: name, exp: Math.floor(clock.wallMs() / 1000) + 60 });

test('a handle works at another replica, which verifies its token again', async (t) => {
  const { clock, one, other } = await startPair(t);
  const token = tokenFor(clock, 'alice');
  const text = await one.give(token);
  assert.equal(other.handles.find(text), undefined);
  assert.equal((await other.find(text, PEER))?.subject.token.reveal(), token);
  assert.equal(other.verified.length, 1);
  assert.equal(other.handles.find(text)?.subject.token.reveal(), token);
  assert.equal(await other.give(token), text);
});

test('a handle whose token is refused or expired is unknown, and an unreachable issuer is an error', async (t) => {
  const { clock, one, other } = await startPair(t);
  const text = await one.give(tokenFor(clock, 'alice'));
  other.setup.refusal = new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'revoked');
  assert.equal(await other.find(text, PEER), undefined);
  other.setup.refusal = new CambistError('ERR_STS_UNAVAILABLE', 'down');
  await assert.rejects(other.find(text, PEER), other.setup.refusal);
  other.setup.refusal = undefined;
  clock.advance(61_000);
  assert.equal(await other.find(text, PEER), undefined);
});

test('finds no handle that was invented, altered, or stored under another name', async (t) => {
  const { server, clock, one, other } = await startPair(t);
  const [ofAlice, ofBob] = [await one.give(tokenFor(clock, 'alice')), await one.give(tokenFor(clock, 'bob'))];
  const names = [...server.values.keys()].filter((name) => name.endsWith(':h')) as [string, string];
  const [first = '', second = ''] = names.map((name) => server.values.get(name));
  server.values.set(names[0], second);
  server.values.set(names[1], first);
  for (const text of [ofAlice, ofBob, `cbh_${'a'.repeat(43)}`]) assert.equal(await other.find(text, PEER), undefined);
  assert.equal(other.verified.length, 0);
});

test('the store contains neither a handle nor its token', async (t) => {
  const { server, clock, one } = await startPair(t);
  const token = tokenFor(clock, 'alice');
  const text = await one.give(token);
  const dump = JSON.stringify([...server.values]);
  for (const secret of [text, text.slice(4), token, token.split('.')[1] ?? '']) assert.ok(!dump.includes(secret));
});

test('resolves handles of an older key beside new ones of the same token', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const before = await start(t, server, clock, [OLD_KEY]);
  const after = await start(t, server, clock, [NEW_KEY, OLD_KEY]);
  const token = tokenFor(clock, 'alice');
  const old = await before.give(token);
  const text = await after.give(token);
  assert.notEqual(text, old);
  assert.ok(await after.find(old, PEER));
  // Both fit. A third one evicts the handle without a request in flight, and not the other.
  await after.give(tokenFor(clock, 'bob'));
  assert.equal(after.handles.find(old), undefined);
  assert.equal(after.handles.find(text)?.subject.token.reveal(), token);
});

test('shares a handle again only after a while, and survives a server that is down', async (t) => {
  const { server, clock, one } = await startPair(t);
  const token = new Secret(tokenFor(clock, 'alice'));
  const text = await one.give(token.reveal());
  assert.equal(one.shared.share(text, token, clock.wallMs() + 600_000), undefined);
  clock.advance(60_001);
  server.fault = new Error('closed');
  await one.shared.share(text, token, clock.wallMs() + 600_000);
  assert.equal(await one.find(text, PEER), undefined);
  server.fault = undefined;
  server.values.clear();
  await one.shared.share(text, token, clock.wallMs() + 600_000);
  assert.ok([...server.values.keys()].some((name) => name.endsWith(':h')));
  assert.equal(one.shared.share(text, token, clock.wallMs()), undefined);
});
