import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { withoutConsentState } from '../../../src/proxy/consent-retry.ts';
import {
  type BoundRequest,
  type NestedState,
  openState,
  ownStateKeys,
  type StateKeys,
  sealState,
} from '../../../src/proxy/consent-state.ts';
import { CONSENT_INPUT } from '../../../src/proxy/elicitation.ts';
import { wholeBody } from '../../../src/proxy/request-body.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { MAX_NESTED_BYTES, STATE_PREFIX } from '../../../src/routing/request-state.ts';
import type { Session } from '../../../src/tokens/session.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const clock = createFakeClock();
const stateKeys = () => [Buffer.alloc(32, 1)];
const subject = toSubject('opaque-token-of-alice');
const ROUTED = { route: { name: 'github' } } as Routed;
const ACCEPTED = JSON.stringify({ [CONSENT_INPUT]: { action: 'accept' } });

const messageOf = (params: string): string => `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":${params}}`;

/** Our state for a call with these params. */
function sealed(params: unknown, nested: NestedState = {}): string {
  const bound = { subject, route: 'github', method: 'tools/call', params };
  return sealState(nested, bound, stateKeys, clock.wallMs()) ?? assert.fail('not sealed');
}

/** The body that the backend gets, or undefined where nothing is changed. */
function restored(text: string, session = { subject } as Session): string | undefined {
  const body = withoutConsentState(ROUTED, session, wholeBody(Buffer.from(text)), { clock, stateKeys });
  return body?.replay()?.toString();
}

function refusal(text: string): CambistError {
  try {
    restored(text);
  } catch (error) {
    if (error instanceof CambistError) return error;
    throw error;
  }
  return assert.fail('it is not refused');
}

test('changes no body without a state of cambist', () => {
  const bodies = [
    '',
    '{',
    '[]',
    '7',
    '{"params":7}',
    messageOf('{"requestState":7}'),
    messageOf('{"requestState":"x"}'),
  ];
  for (const text of bodies) assert.equal(restored(text), undefined, text);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.json().map(messageOf)), (text) => {
      assert.equal(restored(text), undefined);
    }),
  );
});

test('takes its own fields out and leaves all other bytes', () => {
  const state = sealed({ name: 'list', arguments: { ratio: 1, big: 2 } });
  const rest = '"name":"list","arguments":{"big":2.0,"ratio":1e0}';
  const fields = `"requestState":"${state}","inputResponses":${ACCEPTED}`;
  for (const params of [`{${rest},${fields}}`, `{${fields},${rest}}`, `{ ${rest} , ${fields} }`]) {
    assert.equal(
      restored(messageOf(params))?.replace(/\{ | \}| ,/g, (text) => text.trim()),
      messageOf(`{${rest}}`),
    );
  }
  assert.equal(restored(messageOf(`{"requestState":"${sealed({})}"}`)), messageOf('{}'));
});

test('gives the backend its own state and responses back, as they were written', () => {
  const nested = { requestState: '"of the backend"', inputResponses: '{"own":{"n":1.0}}' };
  const state = sealed({ name: 'list' }, nested);
  const own = `"requestState":${nested.requestState},"inputResponses":${nested.inputResponses}`;
  assert.equal(
    restored(messageOf(`{"name":"list","requestState":"${state}","inputResponses":${ACCEPTED}}`)),
    messageOf(`{"name":"list",${own}}`),
  );
  const without = restored(messageOf(`{"name":"list","requestState":"${state}"}`));
  assert.deepEqual(JSON.parse(String(without)), JSON.parse(messageOf(`{"name":"list",${own}}`)));
  const nothing = restored(messageOf(`{"requestState":"${sealed({}, { inputResponses: '[]' })}"}`));
  assert.equal(nothing, messageOf('{"inputResponses":[]}'));
});

test('restores any call of any client', () => {
  const params = fc.dictionary(
    fc.string().filter((key) => !['requestState', 'inputResponses', '_meta', '__proto__'].includes(key)),
    fc.jsonValue(),
    { maxKeys: 5 },
  );
  const own = fc.record({ requestState: fc.json(), inputResponses: fc.json() }, { requiredKeys: [] });
  fc.assert(
    fc.property(params, own, fc.constantFrom(undefined, 2, '\t'), (fields, nested, indent) => {
      const retry = { ...fields, requestState: sealed(fields, nested), inputResponses: JSON.parse(ACCEPTED) };
      const sent = JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: retry }, null, indent);
      const given = Object.entries(nested).map(([key, text]) => [key, JSON.parse(text)]);
      const expected = { ...fields, ...Object.fromEntries(given) };
      assert.deepEqual(JSON.parse(String(restored(sent))).params, JSON.parse(JSON.stringify(expected)));
    }),
  );
});

test('refuses a state in a message without a method, and of a caller without a token', () => {
  const state = sealed({ name: 'list' });
  for (const method of ['"method":7,', '']) {
    const text = `{"id":7,${method}"params":{"name":"list","requestState":"${state}"}}`;
    assert.equal(refusal(text).code, 'ERR_REQUEST_STATE_INVALID', text);
  }
  const text = messageOf(`{"name":"list","requestState":"${state}"}`);
  assert.throws(() => restored(text, { subject: undefined } as Session), { code: 'ERR_REQUEST_STATE_INVALID' });
});

test('parses nothing around a state that cambist did not seal for the caller', (t) => {
  const parsed = t.mock.method(JSON, 'parse');
  const compared = t.mock.method(Object, 'entries');
  const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;
  for (const state of [`${STATE_PREFIX}made-up`, STATE_PREFIX + 'A'.repeat(96 * 1024)]) {
    const { code } = refusal(messageOf(`{"arguments":{"a":${deep}},"requestState":"${state}"}`));
    assert.equal(code, 'ERR_REQUEST_STATE_INVALID');
  }
  for (const argument of [`"${STATE_PREFIX}"`, `"\\"requestState\\":\\"${STATE_PREFIX}\\""`]) {
    assert.equal(restored(messageOf(`{"arguments":{"a":${argument},"b":${deep}}}`)), undefined);
  }
  assert.deepEqual([parsed.mock.callCount(), compared.mock.callCount()], [0, 0]);
});

test('leaves a state alone that is an argument of a tool', () => {
  const argument = `"arguments":{"requestState":"${sealed({})}"}`;
  assert.equal(restored(messageOf(`{${argument}}`)), undefined);
  const params = JSON.parse(`{${argument}}`);
  assert.equal(restored(messageOf(`{${argument},"requestState":"${sealed(params)}"}`)), messageOf(`{${argument}}`));
});

test('refuses a message that servers may read differently', () => {
  const state = sealed({ name: 'list' });
  const call = `{"name":"list","requestState":"${state}"}`;
  for (const text of [
    `{"id":7,"method":"tools/call","params":{"name":"delete"},"params":${call}}`,
    messageOf(`{"name":"list","requestState":"other","requestState":"${state}"}`),
    messageOf(`{"name":"list","requestState":"${state}","requestState":"other"}`),
    `{"id":7,"method":"tools/call","params":${call}`,
    messageOf(`{"name":"list","inputResponses":1,"inputResponses":2,"requestState":"${state}"}`),
    messageOf(`{"name":"list","request\\u0053tate":"other","requestState":"${state}"}`),
  ]) {
    assert.equal(refusal(text).code, 'ERR_REQUEST_STATE_INVALID', text);
  }
});

test('says that consent is required where the user declined', () => {
  const state = sealed({ name: 'list' });
  for (const action of ['decline', 'cancel']) {
    const responses = JSON.stringify({ [CONSENT_INPUT]: { action } });
    const { code, responseId } = refusal(
      messageOf(`{"name":"list","requestState":"${state}","inputResponses":${responses}}`),
    );
    assert.deepEqual([code, responseId], ['ERR_CONSENT_REQUIRED', { id: 7 }]);
  }
});

test('never leaves a state of cambist in what it sends on, whatever the body is', () => {
  const state = sealed({ name: 'list' });
  const piece = fc.oneof(
    fc.constantFrom('"name":"list"', `"requestState":"${state}"`, '"inputResponses":{}', '"params":{', '}', '{', ','),
    fc.json(),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = messageOf(`{${pieces.join(',')}}`);
      try {
        const sent = restored(text);
        if (sent !== undefined) assert.equal(JSON.parse(sent).params.requestState, undefined);
      } catch (error) {
        assert.ok(error instanceof CambistError, String(error));
      }
    }),
  );
});

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

test('has one random key in a process, and seals the same request differently each time', () => {
  assert.equal(ownStateKeys()[0], ownStateKeys()[0]);
  assert.notEqual(seal(), seal());
  const state = seal({ requestState: '"secret-of-the-backend"' }, ownStateKeys);
  assert.ok(!Buffer.from(state.slice(STATE_PREFIX.length), 'base64url').toString('latin1').includes('secret-of'));
});
