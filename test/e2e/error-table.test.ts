import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_CODES } from '../../src/errors.ts';

/** A fault of cambist itself: were there a way to provoke it from outside, it would be fixed. */
const NOT_TO_BE_PROVOKED = ['ERR_INTERNAL'];

test('every code of the catalogue is provoked against the built program by one of the files beside this', () => {
  const folder = new URL('.', import.meta.url);
  const texts = readdirSync(folder)
    .filter((name) => /^error-table-.*\.test\.ts$/.test(name))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'));
  const missing = ERROR_CODES.filter((code) => !texts.some((text) => text.includes(`'${code}'`)));
  assert.deepEqual(missing, NOT_TO_BE_PROVOKED);
});
