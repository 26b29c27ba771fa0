import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

test('a run of tests says on stderr what it has finished', async () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const args = ['--import', 'tsx', 'test/run.ts', 'unit', '--only', 'clock'];
  const { stderr } = await promisify(execFile)(process.execPath, args, { env });
  assert.match(stderr, /^… \d+ s: 1 of 1 processes finished\. Running: none$/m);
});
