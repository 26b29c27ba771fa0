import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { LOG_FIELDS, type LogFields } from '../../../src/observability/log-fields.ts';
import { logLine } from '../../../src/observability/log-line.ts';
import { createLogger } from '../../../src/observability/logger.ts';

const LEVELS = ['error', 'warn', 'info'] as const;

/** Any value that a field may have. Fractions have at most three digits, as durations in the log do. */
const value = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('"', '\\', '\n', '\u2028', '\ud800', 'plain'),
  fc.integer(),
  fc.double({ noInteger: true }).map((number) => Math.round(number * 1000) / 1000),
  fc.integer({ min: 1, max: 1e9 }).map((thousandths) => thousandths / 1000),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -0, -1.5, 1e21, 2 ** 53),
  fc.boolean(),
  fc.constant(undefined),
  fc.constant(null),
  fc.array(fc.string(), { maxLength: 3 }),
);
const error = fc.oneof(
  fc.string().map((message) => new CambistError('ERR_INTERNAL', message, { cause: new Error(message) })),
  fc.string(),
);
const fields = fc
  .tuple(fc.dictionary(fc.constantFrom(...LOG_FIELDS), value), fc.option(error, { nil: undefined }))
  .map(([named, err]) => {
    const { time: _time, level: _level, msg: _msg, ...rest } = named;
    return { ...rest, err } as LogFields;
  });

test('writes the same line as pino, whatever the fields and the message', () => {
  fc.assert(
    fc.property(fc.constantFrom(...LEVELS), fields, fc.string({ unit: 'binary' }), (level, given, message) => {
      const own = logLine(level, given, message);
      const lines: string[] = [];
      createLogger('info', { write: (line) => void lines.push(line) })[level](given, message);
      assert.match(own, /^[^\n]*\n$/);
      const [parsed, expected] = [own, lines.join('')].map((line) => JSON.parse(line) as Record<string, unknown>);
      assert.deepEqual({ ...parsed, time: '' }, { ...expected, time: '' });
    }),
    { numRuns: 2000 },
  );
});

test('rounds fractions to three digits', () => {
  for (const [ms, text] of [
    [1.23456, '1.235'],
    [0.0004, '0.000'],
    [59.9996, '60.000'],
    [7.05, '7.050'],
    [12, '12'],
  ] as const) {
    assert.match(logLine('info', { duration_ms: ms }, 'request'), new RegExp(`"duration_ms":${text},`));
  }
});
