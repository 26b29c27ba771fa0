import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepAliveMs } from '../../../../src/transport/http1/connection.ts';

for (const [headers, ms] of [
  [[], 4_000],
  [['Keep-Alive', 'timeout=5'], 3_000],
  [['keep-alive', 'timeout=5, max=100'], 3_000],
  [['KEEP-ALIVE', 'max=100, Timeout=65'], 63_000],
  [['X-A', 'timeout=9', 'Keep-Alive', 'timeout=5'], 3_000],
  [['Keep-Alive', 'timeout=1'], 0],
  [['Keep-Alive', 'timeout=0'], 0],
  [['Keep-Alive', 'timeout=99999999999999999999'], 598_000],
  [['Keep-Alive', 'max=100'], 4_000],
  [['Keep-Alive', ''], 4_000],
  [['Keep-Alive', 'timeout=soon'], 4_000],
  [['Keep-Alive', 'timeout=-5'], 4_000],
  [['Keep-Alive', 'notimeout=5'], 4_000],
  [['Keep-Alive', 'max=100', 'Keep-Alive', 'timeout=7'], 5_000],
] as const) {
  test(`keeps an idle connection for ${ms} ms after the headers ${JSON.stringify(headers)}`, () => {
    assert.equal(keepAliveMs(200, headers), ms);
  });
}

test('does not reuse a connection after a 204 or 304 that announces a body', () => {
  for (const status of [204, 304]) {
    assert.equal(keepAliveMs(status, ['Content-Length', '5']), 0);
    assert.equal(keepAliveMs(status, ['Keep-Alive', 'timeout=5', 'Content-Length', '0']), 3_000);
    assert.equal(keepAliveMs(status, []), 4_000);
  }
});
