import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { CambistError } from '../../../src/errors.ts';
import { acceptToken } from '../../../src/tokens/accept-token.ts';
import { createTokenCache } from '../../../src/tokens/cache.ts';
import { readSubject } from '../../../src/tokens/subject.ts';
import type { TokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import { collectGarbage } from '../../harness/heap.ts';
import { NO_OBSERVER, routeOf } from './sample.ts';
import { brokerOf } from './scripted-endpoint.ts';

const ENTRIES = 10_000;
const FLOOD = 50_000;
/** Limit for an entry with a token of 1 KiB, about twice its actual size. */
const MAX_BYTES_PER_TOKEN = 4096;
/** Limit for the growth after the flood, for each entry: 120 bytes for each caller of the flood. */
const MAX_GROWTH_PER_TOKEN = 600;
/** Limit for a refusal. */
const MAX_BYTES_PER_REFUSAL = 4096;

/** Bytes in use after garbage collection. */
async function usedBytes(): Promise<number> {
  for (let i = 0; i < 3; i += 1) {
    collectGarbage();
    await new Promise(setImmediate);
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function setUp(issue: () => string) {
  const settings = { clock: systemClock, maxAgeMs: () => 300_000, random: Math.random };
  const cache = createTokenCache(ENTRIES, systemClock, () => {});
  const endpoint: TokenEndpoint = {
    prepare: async () => {},
    exchange: async (request) => {
      // A new string, like one from the network.
      const accessToken: string = JSON.parse(`"${issue()}"`);
      const token = { accessToken, tokenType: 'Bearer', expiresInSeconds: 300 } as const;
      return {
        accessToken,
        tokenType: 'Bearer',
        sent: [],
        ...acceptToken(token, systemClock.monotonicMs(), request, settings),
      };
    },
  };
  const broker = brokerOf(() => endpoint, cache, systemClock, NO_OBSERVER);
  const route = routeOf();
  /** Makes the requests of `count` callers, from the number `first` on. Each has a token of 1 KiB and a session. */
  async function call(first: number, count: number): Promise<void> {
    for (let next = first; next < first + count; next += 100) {
      const some = Array.from({ length: 100 }, async (_, i) => {
        // Every second caller is the same, with another session.
        const one = (next + i) % 2 === 0 ? next + i : 1;
        const subject = readSubject('authorization', [`Bearer ${String(one).padStart(1024, 's')}`]);
        const lookup = broker.lookUp(route, { subject, id: `session-${next + i}` });
        if (lookup.result === 'miss') await lookup.pending.catch(() => {});
      });
      await Promise.all(some);
    }
  }
  return { cache, call };
}

test('stores ten thousand tokens of 1 KiB in less than 4 KiB each, and a flood of callers adds nothing', async (t) => {
  let number = 0;
  const { cache, call } = setUp(() => {
    number += 1;
    return String(number).padStart(1024, 't');
  });
  const empty = await usedBytes();
  await call(0, ENTRIES);
  assert.equal(cache.size, ENTRIES);
  const full = await usedBytes();
  const bytesPerToken = (full - empty) / ENTRIES;
  t.diagnostic(`${Math.round(bytesPerToken)} bytes per token of 1 KiB`);
  assert.ok(bytesPerToken < MAX_BYTES_PER_TOKEN, `${bytesPerToken} bytes per token`);

  await call(ENTRIES, FLOOD);
  assert.equal(cache.size, ENTRIES);
  const growth = ((await usedBytes()) - full) / ENTRIES;
  t.diagnostic(`${Math.round(growth)} bytes per token more after ${FLOOD} other callers`);
  assert.ok(growth < MAX_GROWTH_PER_TOKEN, `${growth} bytes per token more after the flood`);
});

test('bounds the memory that a flood of refused callers takes', async (t) => {
  const { call } = setUp(() => {
    throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'authorization server "main" refused with 400, invalid_grant');
  });
  const empty = await usedBytes();
  await call(0, FLOOD);
  const bytesPerRefusal = ((await usedBytes()) - empty) / ENTRIES;
  t.diagnostic(`${Math.round(bytesPerRefusal)} bytes per refusal`);
  assert.ok(bytesPerRefusal < MAX_BYTES_PER_REFUSAL, `${bytesPerRefusal} bytes per refusal`);
});
