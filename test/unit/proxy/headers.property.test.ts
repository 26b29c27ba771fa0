import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { upstreamHeaders } from '../../../src/proxy/request-headers.ts';
import { callerHeaders } from '../../../src/proxy/response-headers.ts';

const TOKEN = 'eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl';

/** Names with a meaning in any letter case, and arbitrary names. */
const name = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        'host',
        'connection',
        'authorization',
        'x-request-id',
        'te',
        'upgrade',
        'expect',
        'content-length',
        'x-a',
        'x-b',
        'set-cookie',
        '__proto__',
        'constructor',
      ),
      fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
    )
    .map(([text, upper]) => [...text].map((char, i) => (upper[i % 4] === true ? char.toUpperCase() : char)).join('')),
  fc.string({ unit: 'binary-ascii', maxLength: 8 }),
);
const value = fc.oneof(
  fc.constantFrom(
    '',
    'close',
    'keep-alive',
    'Keep-Alive, X-A',
    'x-a,,x-b ,',
    'authorization, content-length',
    ',',
    TOKEN,
  ),
  fc.string({ unit: 'binary-ascii', maxLength: 20 }),
  fc.string({ maxLength: 5 }).map((text) => text + TOKEN + text),
);
const rawHeaders = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((lines) => lines.flat());

const HOP_BY_HOP = ['connection', 'te', 'upgrade', 'expect'];

test('sends one host, one request id, no Authorization and no token of the caller upstream for any input', () => {
  fc.assert(
    fc.property(rawHeaders, (raw) => {
      const rules = { host: 'up', withheld: new Set(['authorization']), callerTokens: [TOKEN], requestId: 'id' };
      const headers = upstreamHeaders(raw, rules);
      const names = headers.filter((_, i) => i % 2 === 0).map((header) => header.toLowerCase());
      assert.equal(headers.length % 2, 0);
      assert.equal(names.filter((header) => header === 'host').length, 1);
      assert.equal(names.filter((header) => header === 'x-request-id').length, 1);
      for (const gone of [...HOP_BY_HOP, 'authorization']) assert.ok(!names.includes(gone), gone);
      assert.ok(!headers.some((part, i) => i % 2 === 1 && part.includes(TOKEN)));
    }),
    { numRuns: 2000 },
  );
});

test('sends all other headers upstream in order, unless Connection lists them', () => {
  fc.assert(
    fc.property(rawHeaders, (raw) => {
      const rules = { host: 'up', withheld: new Set<string>(), callerTokens: [], requestId: 'id' };
      const lines: string[][] = [];
      for (let i = 0; i < raw.length; i += 2) lines.push(raw.slice(i, i + 2));
      const listed = lines
        .filter(([key]) => key?.toLowerCase() === 'connection')
        .flatMap(([, options]) => (options as string).toLowerCase().split(','))
        .map((option) => option.trim())
        .filter((option) => option !== 'content-length');
      const gone = new Set([...HOP_BY_HOP, 'host', 'x-request-id', ...listed]);
      const kept = lines.filter(([key]) => !gone.has((key as string).toLowerCase()));
      assert.deepEqual(upstreamHeaders(raw, rules).slice(2, -2), kept.flat());
    }),
    { numRuns: 1000 },
  );
});

test('keeps hop-by-hop headers of the upstream from the caller', () => {
  fc.assert(
    fc.property(rawHeaders, (raw) => {
      const headers = callerHeaders(raw, (_, value) => value);
      const names = headers.filter((_, i) => i % 2 === 0).map((header) => header.toLowerCase());
      for (const gone of HOP_BY_HOP) assert.ok(!names.includes(gone), gone);
    }),
    { numRuns: 1000 },
  );
});
