import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isChunkedOrPlain } from '../../../src/proxy/headers.ts';

test('a message is chunked or plain unless it names another transfer coding, or several', () => {
  const isAccepted = (...codings: string[]) =>
    isChunkedOrPlain(['Content-Type', 'text/plain', ...codings.flatMap((coding) => ['Transfer-Encoding', coding])]);
  for (const codings of [[], ['chunked'], ['Chunked']]) assert.equal(isAccepted(...codings), true, codings.join('+'));
  for (const codings of [['gzip'], [''], ['gzip, chunked'], ['chunked', 'gzip'], ['chunked', 'chunked']]) {
    assert.equal(isAccepted(...codings), false, codings.join('+'));
  }
});
