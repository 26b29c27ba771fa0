import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logDiagnosisFaults } from '../../../src/observability/diagnosis-faults.ts';
import { loggerWithLines } from './log-lines.ts';

const broken = (): string => {
  throw new TypeError('a bug');
};

test('logs each fault of a catalogue once, and throws it', async () => {
  const { logger, lines } = loggerWithLines();
  const load = logDiagnosisFaults(async () => ({ broken, other: broken, fine: (text: string) => text }), logger);
  for (let i = 0; i < 3; i += 1) {
    const catalogue = await load();
    assert.equal(catalogue.fine('explained'), 'explained');
    assert.throws(() => catalogue.broken(), TypeError);
    assert.throws(() => catalogue.other(), TypeError);
  }
  assert.deepEqual(
    lines.map(({ level, msg }) => [level, msg]),
    ['"broken"', '"other"'].map((name) => ['error', `cannot explain a failure: ${name} of the catalogue failed`]),
  );
});

test('logs once that the catalogue cannot be loaded', async () => {
  const { logger, lines } = loggerWithLines();
  const load = logDiagnosisFaults(() => Promise.reject(new Error('no such file')), logger);
  for (let i = 0; i < 2; i += 1) await assert.rejects(load(), /no such file/);
  assert.equal(lines.length, 1);
});
