import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRecords } from '../../harness/audit-records.ts';
import { makeCalls } from '../../harness/demo-calls.ts';
import { eventually } from '../../harness/eventually.ts';
import { type McpSetup, startMcpSetup } from '../../harness/mcp-setup.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { runProgram, succeeded } from '../../harness/run-command.ts';

const page = readFileSync('config/audit.md', 'utf8');

function blockOf(language: string): string {
  const [block, ...more] = fencedBlocks(page, language);
  assert.ok(block !== undefined && more.length === 0);
  return block;
}

async function python({ cambist }: McpSetup, program: string, ...args: string[]): Promise<string> {
  return succeeded(await runProgram('python3', ['-c', program, ...args], { cwd: cambist.directory }));
}

/** Runs a query, and prints each row as a JSON array on a line. */
const QUERY = `
import json, sqlite3, sys
for row in sqlite3.connect("audit.db").execute(sys.argv[1]): print(json.dumps(row))
`;

test('finds the tools that the agent of alice called, and their audiences, in the traffic of the demo', async (t) => {
  const setup = await startMcpSetup(t, {
    change: (config) => ({ ...config, audit: { to: { file: 'audit.jsonl' } } }),
  });
  for (const sub of ['alice', 'bob', 'alice']) await makeCalls(setup, await setup.subjectToken({ sub }));
  const file = join(setup.cambist.directory, 'audit.jsonl');
  await eventually('all exchanges are recorded', () => {
    return readRecords(file).filter(({ event }) => event === 'exchange').length === 6;
  });
  writeFileSync(join(setup.cambist.directory, 'load.py'), blockOf('python'));
  const loaded = await python(setup, `import sys; sys.argv = ["load.py", "audit.jsonl"]; exec(open("load.py").read())`);
  assert.equal(loaded, '');
  const rows = (await python(setup, QUERY, blockOf('sql')))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown[]);
  assert.deepEqual(rows.map(([tool, route, audience, , calls]) => [tool, route, audience, calls]).sort(), [
    ['whoami', 'docs', setup.backends.docs.resource, 2],
    ['whoami', 'github', setup.backends.github.resource, 2],
  ]);
});
