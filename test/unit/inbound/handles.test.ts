import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { handleOfRequest, handlesIn, handleText, readHandle } from '../../../src/inbound/handle-text.ts';
import { createHandles } from '../../../src/inbound/handles.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

function start(maxEntries = 10) {
  const clock = createFakeClock();
  const removed: string[] = [];
  const handles = createHandles(maxEntries, clock, (reason) => removed.push(reason));
  const subject = (token: string, lifetimeMs = 60_000, caller = token) => ({
    token: new Secret(token),
    digest: hash('sha256', token, 'base64url'),
    expiresAtMs: clock.wallMs() + lifetimeMs,
    introspected: { sub: caller },
  });
  /** A handle without a request in flight. */
  const idle = (token: string, caller = token, lifetimeMs?: number) => {
    const held = handles.hold(subject(token, lifetimeMs, caller));
    handles.release(held);
    return held.handle.text;
  };
  return { clock, handles, removed, subject, idle };
}

test('makes a handle of 222 bits that another process cannot know', () => {
  const [one, other] = [start().idle('token'), start().idle('token')];
  assert.match(one, /^cbh_[\w-]{43}$/);
  assert.notEqual(one, other);
});

test('finds a handle until its token expires by either clock, and not when the wall clock is set back', () => {
  const { clock, handles, idle } = start();
  const text = idle('token');
  assert.equal(handles.find(text)?.subject.token.reveal(), 'token');
  assert.equal(handles.find('cbh_unknown'), undefined);
  clock.advance(60_000);
  clock.jumpWall(-120_000);
  assert.equal(handles.find(text), undefined);
  const other = idle('other');
  clock.jumpWall(59_999);
  assert.ok(handles.find(other));
  clock.jumpWall(1);
  assert.equal(handles.find(other), undefined);
});

test('keeps the claims and the expiry of the last request', () => {
  const { clock, handles, subject, idle } = start();
  const text = idle('token', 'alice');
  idle('token', 'alice in another group', 30_000);
  assert.equal(handles.find(text)?.subject.introspected?.sub, 'alice in another group');
  clock.advance(30_000);
  assert.equal(handles.find(text), undefined);
  handles.release(handles.hold(subject('token')));
  assert.ok(handles.find(text));
});

test('evicts the least recently used handle, and counts a lookup as a use', () => {
  const { handles, idle, removed } = start(2);
  const [a, b] = [idle('a'), idle('b')];
  handles.find(a);
  idle('c');
  assert.equal(handles.find(b), undefined);
  assert.ok(handles.find(a));
  assert.deepEqual(removed, ['capacity']);
});

test('keeps the handle of a request in flight, whose text another replica gave before', () => {
  const { clock, subject } = start();
  let digest: string | undefined;
  const handles = createHandles(
    3,
    clock,
    () => {},
    (token) => (token === 'shared' ? digest : undefined),
  );
  // Before the key of the replicas is read, the token gets a handle of this process.
  handles.release(handles.hold(subject('shared')));
  digest = 'S'.repeat(43);
  handles.adopt(handleText(digest), subject('shared'));
  handles.release(handles.hold(subject('gone')));
  handles.release(handles.hold(subject('other')));
  handles.removeRevoked(({ token }) => token.reveal() === 'gone');
  const { handle } = handles.hold(subject('shared'));
  assert.equal(handle.text, handleText(digest));
  for (const token of ['a', 'b', 'c']) handles.release(handles.hold(subject(token)));
  assert.equal(handles.find(handle.text), handle);
});

test('evicts the handles of a caller with many tokens before those of others', () => {
  const { handles, idle } = start(20);
  const quiet = idle('quiet');
  for (let i = 0; i < 200; i += 1) idle(`greedy-${i}`, 'greedy');
  assert.ok(handles.find(quiet));
  assert.equal(handles.size, 20);
});

test('evicts the handles of a caller with many requests in flight before those of a quiet caller', () => {
  const { handles, idle, subject } = start(20);
  const quiet = idle('quiet');
  const held = ['1', '2', '3', '4', '5'].map((token) => handles.hold(subject(token, undefined, 'greedy')));
  const own = idle('6', 'greedy');
  const others = Array.from({ length: 13 }, (_, at) => idle(`other-${at}`, `other-${at}`));
  idle('new');
  assert.equal(handles.find(own), undefined);
  assert.ok(handles.find(quiet));
  for (const { handle } of held) assert.equal(handles.find(handle.text), handle);
  // The greedy caller has no other handle that may go. The least recently used one of the others does.
  idle('another');
  assert.equal(handles.find(others[0] ?? ''), undefined);
});

test('does not evict a handle while its request is in flight, and refuses new ones then', () => {
  const { handles, subject, removed } = start(2);
  const held = ['a', 'b'].map((token) => handles.hold(subject(token)));
  assert.throws(() => handles.hold(subject('c')), { code: 'ERR_OVERLOADED' });
  const a = held[0] ?? assert.fail();
  const again = handles.hold(subject('a'));
  assert.equal(again.handle, a.handle);
  handles.release(again);
  assert.throws(() => handles.hold(subject('c')), { code: 'ERR_OVERLOADED' });
  handles.release(a);
  handles.hold(subject('c'));
  assert.deepEqual(removed, ['capacity']);
});

test('removes expired handles by a sweep, and one in flight when its request ends', () => {
  const { clock, handles, idle, subject, removed } = start();
  idle('a');
  const held = handles.hold(subject('b'));
  clock.advance(60_000);
  handles.sweep();
  assert.equal(handles.size, 1);
  handles.release(held);
  assert.equal(handles.size, 0);
  assert.deepEqual(removed, ['expired', 'expired']);
});

test('keeps the most recently used handles when the bound shrinks', () => {
  const { handles, idle } = start(3);
  const [a, b, c] = [idle('a'), idle('b'), idle('c')];
  handles.resize(1);
  for (const text of [a, b]) assert.equal(handles.find(text), undefined);
  assert.ok(handles.find(c));
});

test('does not release a handle that was made after all were removed', () => {
  const { handles, subject } = start(1);
  const before = handles.hold(subject('a'));
  handles.clear();
  assert.equal(handles.find(before.handle.text), undefined);
  const after = handles.hold(subject('a'));
  handles.release(before);
  assert.throws(() => handles.hold(subject('b')), { code: 'ERR_OVERLOADED' });
  handles.release(after);
});

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64url'));

const percentEncoded = (text: string) =>
  [...text].map((char) => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`).join('');

test('finds a handle in any text around it, plain and encoded, and with the number of its request', () => {
  fc.assert(
    fc.property(digest, fc.string(), fc.string(), fc.nat(), (one, before, after, request) => {
      const text = handleText(one);
      for (const written of [text, handleOfRequest(text, request)]) {
        const whole = Buffer.from(`${before}${written}${after}`);
        for (const around of [
          `${before}${written}${after}`,
          `${before.replaceAll('%', '')}${percentEncoded(percentEncoded(written))}${after}`,
          `Basic ${whole.toString('base64')}`,
          `a-word_${whole.toString('base64url')}`,
          `s=${percentEncoded(whole.toString('base64'))}`,
        ]) {
          assert.deepEqual([...new Set(handlesIn(around))], [text], around);
        }
      }
    }),
  );
});

test('takes text that looks like a handle for one as a word of its own only', () => {
  const unknown = `cbh_${'A'.repeat(43)}`;
  for (const text of [unknown, `Bearer ${unknown}`, `x=${unknown};`])
    assert.deepEqual(handlesIn(text), [unknown], text);
  for (const text of ['', 'cbh_', `${unknown}A`, `x${unknown}`, `cbh_${unknown}`, unknown.slice(0, -1)]) {
    assert.deepEqual(handlesIn(text), [], text);
  }
});

test('searches text that is full of prefixes once', () => {
  const text = handleText('A'.repeat(43));
  for (const filler of ['cbh_', '%63bh_', 'Y2JoX', '%', 'A']) {
    assert.deepEqual([...new Set(handlesIn(`${filler.repeat(200_000)} ${text}`))], [text]);
  }
});

test('reads a handle that stands alone, and the number of its request', () => {
  fc.assert(
    fc.property(digest, fc.integer({ min: 0, max: 1e12 }), (one, request) => {
      const text = handleText(one);
      assert.deepEqual(readHandle(text), { text, request: undefined });
      assert.deepEqual(readHandle(handleOfRequest(text, request)), { text, request });
      for (const after of [' ', '.', '.-1', '.1.1', `.${'z'.repeat(11)}`]) {
        assert.equal(readHandle(text + after), undefined, after);
      }
      assert.equal(readHandle(`x${text}`), undefined);
    }),
  );
});
