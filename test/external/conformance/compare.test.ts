import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differences } from './compare.ts';
import type { Check, SuiteResult } from './suite.ts';

const CHECK: Check = { id: 'a', name: 'A', status: 'SUCCESS', details: { url: 'http://127.0.0.1:4711/mcp' } };

function result(checks: readonly Check[]): SuiteResult {
  return { passed: true, output: '', scenarios: new Map([['tools-list', checks]]) };
}

/** The check with other details. */
const withDetails = (details: object): Check[] => [{ ...CHECK, details }];

const counted = (messagesValidated: number, ...violations: string[]) => withDetails({ messagesValidated, violations });

const framed = (type: string, isChunked: boolean) => {
  const headers = {
    ...(!isChunked && { 'content-length': '138' }),
    'content-type': type,
    'mcp-session-id': 's',
    ...(isChunked && { 'transfer-encoding': 'chunked' }),
    'x-accel-buffering': 'no',
  };
  return withDetails({ statusCode: 200, headers });
};
const [events, json] = ['text/event-stream', 'application/json'];

for (const [what, one, other] of [
  ['ports', [CHECK], withDetails({ url: 'http://127.0.0.1:815/mcp' })],
  ['the number of periodic messages', counted(5), counted(6)],
  ['how a server frames an event stream', framed(events, false), framed(events, true)],
] as const) {
  test(`ignores ${what}`, () => assert.deepEqual(differences(result(one), result(other)), []));
}

for (const [difference, one, other] of [
  ['a violation', counted(5), counted(5, 'a field')],
  ['how a server frames another response', framed(json, false), framed(json, true)],
  ['another status', [CHECK], [{ ...CHECK, status: 'FAILURE' }]],
  ['another message', [CHECK], [{ ...CHECK, errorMessage: 'no' }]],
  ['other details', [CHECK], withDetails({ url: 'http://127.0.0.1:4711/sse' })],
  ['a missing check', [CHECK], []],
  ['an additional check', [CHECK], [CHECK, CHECK]],
] as const) {
  test(`reports ${difference}`, () => assert.equal(differences(result(one), result(other)).length, 1));
}

test('reports a missing scenario', () => {
  const none: SuiteResult = { ...result([]), scenarios: new Map() };
  assert.equal(differences(result([CHECK]), none).length, 1);
});
