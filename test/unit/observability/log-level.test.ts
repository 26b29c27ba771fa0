import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogLevelControl } from '../../../src/observability/log-level.ts';
import { loggerWithLines } from './log-lines.ts';

test('keeps a changed level over a reload that configures the same one', () => {
  const { logger } = loggerWithLines();
  logger.level = 'warn';
  const control = createLogLevelControl(logger);
  assert.equal(control.change('debug'), true);
  control.configure('warn');
  assert.deepEqual([control.level, control.configured], ['debug', 'warn']);
  control.configure('error');
  assert.deepEqual([control.level, control.configured], ['error', 'error']);
});

test('logs the change even where no other line is written', () => {
  const { logger, lines } = loggerWithLines();
  logger.level = 'silent';
  const control = createLogLevelControl(logger);
  control.change('error');
  control.change('error');
  control.change('silent');
  logger.error({}, 'unseen');
  assert.deepEqual(
    lines.map(({ from, to }) => [from, to]),
    [
      ['silent', 'error'],
      ['error', 'silent'],
    ],
  );
});
