import { readFileSync } from 'node:fs';
import { type Job, readArguments, USAGE } from './arguments.ts';
import { compareBuilds } from './compare-builds.ts';
import { withEnvironment } from './environment.ts';
import { describeMachine, keepCoresAwake, pinSelf } from './processes.ts';
import { type BenchResult, formatResult } from './report.ts';
import { type CaseResult, runCase } from './run-case.ts';

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let job: Job;
  try {
    job = readArguments(args);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return 2;
  }
  switch (job.do) {
    case 'help':
      process.stdout.write(USAGE);
      return 0;
    case 'compare':
      pinSelf();
      return compareBuilds(job);
    case 'measure':
      pinSelf();
      show(await withCoresAwake(() => measure(job)), job.json);
      return 0;
    default:
      return job satisfies never;
  }
}

async function withCoresAwake<T>(run: () => Promise<T>): Promise<T> {
  const stop = keepCoresAwake();
  try {
    return await run();
  } finally {
    stop();
  }
}

async function measure({ cases, bounds, node }: Extract<Job, { do: 'measure' }>): Promise<BenchResult> {
  const machine = describeMachine(node);
  const results = await withEnvironment(node, async (environment) => {
    const done: CaseResult[] = [];
    for (const benchCase of cases) {
      process.stderr.write(`${benchCase.name}: ${benchCase.about}\n`);
      done.push(await runCase(benchCase, environment, bounds));
    }
    return done;
  });
  return { machine, versions: versions(), cases: results };
}

function show(result: BenchResult, json: boolean): void {
  process.stdout.write(`${json ? JSON.stringify(result, null, 1) : formatResult(result)}\n`);
}

function versions(): Record<string, string> {
  const names = ['fastify', '@fastify/http-proxy', 'undici'];
  return Object.fromEntries(names.map((name) => [name, versionOf(name)]));
}

function versionOf(name: string): string {
  const file = new URL(`../../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
