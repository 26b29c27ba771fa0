import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { LOG_FIELDS } from '../../../src/observability/log-fields.ts';
import { codeWords, tableRows } from '../../harness/markdown.ts';

const reference = readFileSync('config/log.md', 'utf8');
const rows = tableRows(reference, 'in lines of');

// The logger takes no others: their names are in its type.
test('the table of the fields of the log has all that there are, in their order, and no other', () => {
  assert.deepEqual(
    rows.flatMap(([names]) => codeWords(names ?? '')),
    [...LOG_FIELDS],
  );
});

test('every field says in which lines it is, and what it means', () => {
  for (const [name, lines, meaning] of rows) assert.ok(lines !== '' && meaning !== '', name);
});
