import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { RECORD_VARIABLE } from './harness/suite-record.ts';

const KINDS = ['unit', 'integration', 'e2e', 'harness', 'bench', 'chaos', 'soak', 'fuzz'];

const USAGE = `Usage: tsx test/run.ts [unit|integration|e2e|harness|bench|chaos|soak|fuzz]… [--only PATH] [--name PATTERN]

Runs the tests in the named folders, or in all of them. A full run then searches everything that was logged for every secret used.
  --only PATH      only files whose path contains this text
  --name PATTERN   only tests whose name matches this regular expression
`;

/** A test that hangs must not block the run. */
const FILE_TIMEOUT_MS = 120_000;
/** Concurrent test files. The number is low, because many tests start processes. */
const CONCURRENCY = 2;

const here = fileURLToPath(new URL('.', import.meta.url));

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return 2;
  }
  const { values, positionals } = parsed;
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const files = (positionals.length === 0 ? KINDS : positionals)
    .flatMap(testFiles)
    .filter((file) => relative(here, file).includes(values.only ?? ''));
  if (files.length === 0) {
    process.stderr.write('no test file matches\n');
    return 1;
  }
  const record = mkdtempSync(join(tmpdir(), 'cambist-suite-'));
  try {
    process.env[RECORD_VARIABLE] = record;
    const ok = await runFiles(files, values.name);
    // The search for leaks needs the logs of a full run.
    const isFullRun = positionals.length === 0 && values.only === undefined && values.name === undefined;
    const hasNoLeak = !isFullRun || (await runFiles([join(here, 'nothing-leaked.test.ts')], undefined));
    return ok && hasNoLeak ? 0 : 1;
  } finally {
    rmSync(record, { recursive: true, force: true });
  }
}

function parse(args: string[]) {
  const parsed = parseArgs({
    args,
    allowPositionals: true,
    options: { only: { type: 'string' }, name: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  const unknown = parsed.positionals.find((kind) => !KINDS.includes(kind));
  if (unknown !== undefined) throw new Error(`unknown folder "${unknown}": use ${KINDS.join(', ')}`);
  return parsed;
}

function testFiles(kind: string): string[] {
  return readdirSync(join(here, kind), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => join(here, kind, name));
}

/** Returns true if at least one test ran and all tests passed. */
async function runFiles(files: string[], namePattern: string | undefined): Promise<boolean> {
  let ran = 0;
  let failed = 0;
  // Children inherit `process.execArgv` and thereby the TypeScript loader.
  const tests = run({
    files,
    concurrency: CONCURRENCY,
    timeout: FILE_TIMEOUT_MS,
    ...(namePattern === undefined ? {} : { testNamePatterns: [namePattern] }),
  });
  tests.on('test:pass', ({ name, skip }) => {
    // node:test reports a file without tests as a passed test with the name of the file.
    if (skip === undefined && !files.includes(name)) ran += 1;
  });
  tests.on('test:fail', () => {
    failed += 1;
  });
  for await (const text of tests.compose(new spec())) process.stdout.write(String(text));
  if (ran === 0 && failed === 0) process.stderr.write('no test ran\n');
  return ran > 0 && failed === 0;
}
