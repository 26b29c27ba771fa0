import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { RECORD_VARIABLE } from './harness/leaks.ts';

const KINDS = ['unit', 'integration', 'e2e', 'harness', 'bench', 'chaos', 'soak', 'fuzz'];

const USAGE = `Usage: tsx test/run.ts [unit|integration|e2e|harness|bench|chaos|soak|fuzz]… [--only PATH] [--name PATTERN]

Runs the tests in the named folders, or in all of them. A full run then searches everything that was logged for every secret used.
  --only PATH      only files whose path contains this text
  --name PATTERN   only tests whose name matches this regular expression
`;

/** A test that hangs must not block the run. On processors that five runs shared, sixteen files took five minutes. */
const PROCESS_TIMEOUT_MS = 1_200_000;
/** Concurrent processes: one more than CI has processors, because many tests wait. Many tests start processes of their own. */
const CONCURRENCY = 3;
/** Shorter than the patience of a reader, and long enough to leave the results readable. */
const PROGRESS_INTERVAL_MS = 15_000;
/** Starting a process, loading the sources and writing its coverage takes longer than most files' tests. */
const FILES_PER_PROCESS: Readonly<Record<string, number>> = { unit: 48, integration: 24, e2e: 4 };
/** Files of the other folders are few, and share processes. */
const OTHER_FILES_PER_PROCESS = 8;
/** A file with these words counts what its process holds, so it gets a process of its own. */
const COUNTS_RESOURCES = /\b(?:getActiveResourcesInfo|countParsers|startPreciseCoverage)\b/;
/** A file with these words measures the heap, so it shares a process only with such files: they collect the garbage of others first. */
const MEASURES_HEAP = /\b(?:memoryUsage|usedHeapBytes|keptBytesEach)\b/;
/** Tests of these folders run code of `src` in their own process. Coverage slows all others down for nothing. */
const COVERED = ['integration', 'unit', 'harness'];

/** Keeps a process alive between the files: a test may wait for something that does not keep it alive itself. */
const UNTIL_LAST_TEST = `import { test } from 'node:test';
const alive = setInterval(() => {}, 1000);
test('the last test of this process has finished', () => clearInterval(alive));
`;

interface Counts {
  readonly ran: number;
  readonly failed: number;
}

const NOTHING: Counts = { ran: 0, failed: 0 };

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
  const kinds = positionals.length === 0 ? KINDS : positionals;
  const filesOf = (chosen: readonly string[]): string[] =>
    chosen.flatMap(testFiles).filter((file) => relative(here, file).includes(values.only ?? ''));
  if (filesOf(kinds).length === 0) {
    process.stderr.write('no test file matches\n');
    return 1;
  }
  const folder = mkdtempSync(join(tmpdir(), 'cambist-suite-'));
  try {
    const record = join(folder, 'record');
    mkdirSync(record);
    process.env[RECORD_VARIABLE] = record;
    // The processes of units are short, and fill the end.
    const covering = startFiles(filesOf(COVERED.filter((kind) => kinds.includes(kind))), values.name, folder);
    await covering.nearlyDone;
    delete process.env.NODE_V8_COVERAGE;
    const others = startFiles(filesOf(kinds.filter((kind) => !COVERED.includes(kind))), values.name, folder);
    const counts = [await covering.print(), await others.print()];
    const ran = sumOf(counts, 'ran');
    if (ran === 0) process.stderr.write('no test ran\n');
    // The search for leaks needs the logs of a full run.
    const isFullRun = positionals.length === 0 && values.only === undefined && values.name === undefined;
    if (isFullRun) counts.push(await startFiles([join(here, 'nothing-leaked.test.ts')], undefined, folder).print());
    return ran > 0 && sumOf(counts, 'failed') === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
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

/** Files to run as processes: a file joins the next ones of its kind, in a new file that imports them. */
function programsOf(files: readonly string[], folder: string): string[] {
  const programs: string[] = [];
  const open = new Map<string, string[]>();
  const close = (group: readonly string[]): void => {
    const program = join(folder, `tests-${programs.length}.mts`);
    const imports = group.map((file) => `import ${JSON.stringify(pathToFileURL(file))};\n`).join('');
    writeFileSync(program, imports + UNTIL_LAST_TEST);
    programs.push(program);
  };
  for (const file of files) {
    const { kind, size } = shareOf(file);
    if (size === 1) {
      programs.push(file);
      continue;
    }
    const group = open.get(kind) ?? [];
    open.set(kind, group);
    group.push(file);
    if (group.length === size) close(group.splice(0));
  }
  for (const group of open.values()) if (group.length > 0) close(group);
  return programs;
}

/** Files of one kind share a process. */
function shareOf(file: string): { kind: string; size: number } {
  const text = readFileSync(file, 'utf8');
  const [folder = ''] = relative(here, file).split(sep);
  if (COUNTS_RESOURCES.test(text)) return { kind: file, size: 1 };
  if (MEASURES_HEAP.test(text)) return { kind: `${folder} heap`, size: OTHER_FILES_PER_PROCESS };
  const size = FILES_PER_PROCESS[folder];
  return size === undefined ? { kind: 'other', size: OTHER_FILES_PER_PROCESS } : { kind: folder, size };
}

function sumOf(counts: readonly Counts[], of: keyof Counts): number {
  return counts.reduce((sum, each) => sum + each[of], 0);
}

/** `nearlyDone` resolves when at most one process is left, which has its environment already. */
function startFiles(files: readonly string[], namePattern: string | undefined, parentFolder: string) {
  if (files.length === 0) return { nearlyDone: Promise.resolve(), print: () => Promise.resolve(NOTHING) };
  const folder = mkdtempSync(join(parentFolder, 'run-'));
  let ran = 0;
  let failed = 0;
  // The last test of joined files would not match a pattern.
  const programs = namePattern === undefined ? programsOf(files, folder) : [...files];
  const progress = showProgress(programs);
  // Children inherit `process.execArgv` and thereby the TypeScript loader.
  const tests = run({
    files: programs,
    concurrency: CONCURRENCY,
    timeout: PROCESS_TIMEOUT_MS,
    ...(namePattern === undefined ? {} : { testNamePatterns: [namePattern] }),
  });
  tests.on('test:pass', ({ name, skip, file }) => {
    // node:test reports a file without tests as a passed test with the name of the file.
    // The last test of joined files does not count.
    const isOwn = programs.includes(name) || (file?.startsWith(folder) ?? false);
    if (skip === undefined && !isOwn) ran += 1;
  });
  tests.on('test:fail', () => {
    failed += 1;
  });
  tests.on('test:dequeue', ({ name }) => progress.started(name));
  tests.on('test:complete', ({ name }) => progress.finished(name));
  const texts = tests.compose(new spec());
  return {
    nearlyDone: progress.nearlyDone,
    async print(): Promise<Counts> {
      for await (const text of texts) process.stdout.write(String(text));
      progress.stop();
      return { ran, failed };
    },
  };
}

/**
 * Says on stderr which processes run. The reporter prints results in the order of the files, so the first slow process delays
 * the results of all others.
 */
function showProgress(programs: readonly string[]) {
  const running = new Set<string>();
  const startedMs = Date.now();
  let finished = 0;
  let reportNearlyDone = (): void => {};
  const nearlyDone = new Promise<void>((resolve) => {
    reportNearlyDone = resolve;
  });
  const show = (): void => {
    const seconds = Math.round((Date.now() - startedMs) / 1000);
    const names = [...running].map(contentOf).join('; ');
    process.stderr.write(
      `… ${seconds} s: ${finished} of ${programs.length} processes finished. Running: ${names || 'none'}\n`,
    );
  };
  const timer = setInterval(show, PROGRESS_INTERVAL_MS).unref();
  return {
    started(name: string): void {
      if (programs.includes(name)) running.add(name);
    },
    finished(name: string): void {
      if (!running.delete(name)) return;
      finished += 1;
      if (finished >= programs.length - 1) reportNearlyDone();
      show();
    },
    nearlyDone,
    stop: () => clearInterval(timer),
  };
}

/** The first test file of a process, and how many more it runs. */
function contentOf(program: string): string {
  if (!program.endsWith('.mts')) return relative(here, program);
  const files = [...readFileSync(program, 'utf8').matchAll(/"file:\/\/([^"]+)"/g)].map(([, path = '']) =>
    relative(here, path),
  );
  return files.length === 1 ? `${files[0]}` : `${files[0]} and ${files.length - 1} more`;
}
