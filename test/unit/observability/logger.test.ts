import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logLine } from '../../../src/observability/log-line.ts';
import { createLogger } from '../../../src/observability/logger.ts';

/** The lines that a logger of this level writes. */
function linesOf(level: 'info' | 'warn', write: (logger: ReturnType<typeof createLogger>) => void) {
  const lines: string[] = [];
  write(createLogger(level, { write: (line: string) => void lines.push(line) }));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('writes JSON lines with the name of the level and an ISO time, without process and host', () => {
  for (const write of ['info', 'writeLine'] as const) {
    const [line] = linesOf('info', (logger) => {
      if (write === 'info') logger.info({ route: 'github' }, 'request');
      else logger.writeLine(logLine('info', { route: 'github' }, 'request'));
    });
    assert.match(String(line?.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual({ ...line, time: '' }, { level: 'info', time: '', route: 'github', msg: 'request' });
  }
});

test('writes nothing below its level', () => {
  const lines = linesOf('warn', (logger) => {
    logger.info('below');
    logger.warn('at its level');
  });
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['at its level'],
  );
});

test('reduces an error to its code, message and causes', () => {
  const error = Object.assign(new Error('m'), { body: 'secret' });
  const lines = linesOf('info', (logger) => {
    logger.warn({ err: error }, 'x');
    logger.writeLine(logLine('warn', { err: error }, 'x'));
  });
  for (const line of lines) assert.deepEqual(line.err, { code: 'Error', message: 'm' });
});
