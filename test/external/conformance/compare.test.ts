import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differences } from './compare.ts';
import type { Check, SuiteResult } from './suite.ts';

const CHECK: Check = { id: 'a', name: 'A', status: 'SUCCESS', details: { url: 'http://127.0.0.1:4711/mcp' } };

function result(checks: readonly Check[]): SuiteResult {
  return { passed: true, output: '', scenarios: new Map([['tools-list', checks]]) };
}

test('ignores ports, times and generated names', () => {
  const other = { ...CHECK, details: { url: 'http://127.0.0.1:815/mcp' } };
  assert.deepEqual(differences(result([CHECK]), result([other])), []);
});

test('ignores the number of periodic messages, but not a violation', () => {
  const counted = (messagesValidated: number, violations: string[]) =>
    result([{ ...CHECK, details: { messagesValidated, violations } }]);
  assert.deepEqual(differences(counted(5, []), counted(6, [])), []);
  assert.equal(differences(counted(5, []), counted(5, ['a field'])).length, 1);
});

test('ignores how a server frames an event stream, but no other response', () => {
  const framed = (type: string, isChunked: boolean) => {
    const headers = {
      ...(!isChunked && { 'content-length': '138' }),
      'content-type': type,
      'mcp-session-id': 's',
      ...(isChunked && { 'transfer-encoding': 'chunked' }),
      'x-accel-buffering': 'no',
    };
    return result([{ ...CHECK, details: { statusCode: 200, headers } }]);
  };
  const [events, json] = ['text/event-stream', 'application/json'];
  assert.deepEqual(differences(framed(events, false), framed(events, true)), []);
  assert.equal(differences(framed(json, false), framed(json, true)).length, 1);
});

for (const [difference, other] of [
  ['another status', [{ ...CHECK, status: 'FAILURE' }]],
  ['another message', [{ ...CHECK, errorMessage: 'no' }]],
  ['other details', [{ ...CHECK, details: { url: 'http://127.0.0.1:4711/sse' } }]],
  ['a missing check', []],
  ['an additional check', [CHECK, CHECK]],
] as const) {
  test(`reports ${difference}`, () => {
    assert.equal(differences(result([CHECK]), result(other)).length, 1);
  });
}

test('reports a missing scenario', () => {
  const none: SuiteResult = { ...result([]), scenarios: new Map() };
  assert.equal(differences(result([CHECK]), none).length, 1);
});
