import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_CODES } from '../../src/error-catalogue.ts';

/** Internal errors. There is no known way to provoke one from outside. */
const NOT_PROVOKED = ['ERR_INTERNAL'];

test('provokes every error code against the built program in one of the error-table files', () => {
  const folder = new URL('.', import.meta.url);
  const texts = readdirSync(folder)
    .filter((name) => /^error-table-.*\.test\.ts$/.test(name))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'));
  const missing = ERROR_CODES.filter((code) => !texts.some((text) => text.includes(`'${code}'`)));
  assert.deepEqual(missing, NOT_PROVOKED);
});
