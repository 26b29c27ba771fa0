import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import {
  type BoundRequest,
  type NestedState,
  openState,
  ownStateKeys,
  type StateKeys,
  sealState,
} from '../../../src/proxy/consent-state.ts';
import { MAX_NESTED_BYTES, STATE_PREFIX } from '../../../src/routing/request-state.ts';
import { toSubject } from '../../../src/tokens/subject.ts';

const unsigned = (claims: object) => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part(claims)}.x`;
};
const tokenOf = (sub: string, jti = '1') => toSubject(unsigned({ iss: 'https://idp.example.com', sub, jti }));

const BOUND: BoundRequest = {
  subject: tokenOf('alice'),
  route: 'github',
  method: 'tools/call',
  params: { name: 'list', arguments: { a: 1, b: [2] }, _meta: { progressToken: 1 } },
};
const NOW = 1_800_000_000_000;
const keys = () => [Buffer.alloc(32, 1)];
/** Opens a state, if it is of this request. */
function openFor(state: string, request: BoundRequest, opening: StateKeys, nowMs: number): NestedState | undefined {
  const { isFor, ...nested } = openState(state, request, opening, nowMs) ?? {};
  return isFor?.(request) ? nested : undefined;
}
const seal = (nested = { requestState: '"x"' }, sealing: StateKeys = keys) =>
  sealState(nested, BOUND, sealing, NOW) ?? assert.fail('not sealed');

test('opens for the same request of the same caller, also with a renewed token and new metadata', () => {
  const state = seal();
  assert.ok(state.startsWith(STATE_PREFIX));
  assert.deepEqual(openFor(state, BOUND, keys, NOW), { requestState: '"x"' });
  const { name, arguments: written } = BOUND.params as { name: string; arguments: object };
  const params = {
    arguments: Object.fromEntries(Object.entries(written).reverse()),
    name,
    _meta: { progressToken: 2 },
    requestState: state,
    inputResponses: {},
  };
  const retry = { ...BOUND, subject: tokenOf('alice', '2'), params };
  assert.deepEqual(openFor(state, retry, keys, NOW + 60_000), { requestState: '"x"' });
});

test('does not open for another caller, route, method or request', () => {
  const others: Partial<BoundRequest>[] = [
    { subject: tokenOf('mallory') },
    { subject: toSubject('opaque-token') },
    { route: 'docs' },
    { method: 'prompts/get' },
    { params: { name: 'delete', arguments: { a: 1, b: [2] } } },
    { params: { name: 'list', arguments: { a: 1, b: [3] } } },
    { params: { name: 'list', arguments: { a: 1, b: [2] }, more: 1 } },
    { params: undefined },
  ];
  for (const other of others) assert.equal(openFor(seal(), { ...BOUND, ...other }, keys, NOW), undefined);
});

test('does not open after fifteen minutes, or from the future', () => {
  assert.ok(openFor(seal(), BOUND, keys, NOW + 15 * 60_000) !== undefined);
  assert.equal(openFor(seal(), BOUND, keys, NOW + 15 * 60_000 + 1), undefined);
  assert.equal(openFor(seal(), BOUND, keys, NOW - 15 * 60_000 - 1), undefined);
});

test('does not open when a character changes or another key sealed it', () => {
  const state = seal();
  for (let at = STATE_PREFIX.length; at < state.length; at += 1) {
    const other = state[at] === 'A' ? 'B' : 'A';
    const altered = state.slice(0, at) + other + state.slice(at + 1);
    assert.equal(openFor(altered, BOUND, keys, NOW), undefined, `at ${at}`);
  }
  for (const altered of [STATE_PREFIX, `${state}A`, `${state}=`, state.slice(0, -1)]) {
    assert.equal(openFor(altered, BOUND, keys, NOW), undefined);
  }
  assert.equal(
    openFor(state, BOUND, () => [randomBytes(32)], NOW),
    undefined,
  );
});

test('does not decode a state that is longer than any that it seals', (t) => {
  const nested = { requestState: JSON.stringify('"'.repeat(MAX_NESTED_BYTES / 2 - 2)) };
  assert.deepEqual(openFor(seal(nested), BOUND, keys, NOW), nested);
  const decoded = t.mock.method(Buffer, 'from');
  assert.equal(openState(STATE_PREFIX + 'A'.repeat(4 * MAX_NESTED_BYTES), BOUND, keys, NOW), undefined);
  assert.equal(decoded.mock.callCount(), 0);
});

test('opens with an earlier key, and seals with the first', () => {
  const rotated = () => [Buffer.alloc(32, 2), Buffer.alloc(32, 1)];
  assert.ok(openFor(seal(), BOUND, rotated, NOW) !== undefined);
  assert.equal(openFor(seal(undefined, rotated), BOUND, keys, NOW), undefined);
});

test('seals no state for a request that nests too deeply to be compared', () => {
  const deep = JSON.parse(`${'['.repeat(30_000)}${']'.repeat(30_000)}`);
  const bound = { ...BOUND, params: { name: 'list', arguments: deep } };
  assert.equal(sealState({}, bound, keys, NOW), undefined);
  assert.equal(openFor(seal(), bound, keys, NOW), undefined);
});

test('has one random key in a process, and seals the same request differently each time', () => {
  assert.equal(ownStateKeys()[0], ownStateKeys()[0]);
  assert.notEqual(seal(), seal());
  const state = seal({ requestState: '"secret-of-the-backend"' }, ownStateKeys);
  assert.ok(!Buffer.from(state.slice(STATE_PREFIX.length), 'base64url').toString('latin1').includes('secret-of'));
});
