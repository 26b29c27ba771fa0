import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Bounds, type Case, createPeers, listCases } from './cases.ts';
import { type Comparison, compareBuilds, SHORT, USUAL_CASES } from './compare-builds.ts';
import { withEnvironment } from './contestants.ts';
import { describeMachine, keepCoresAwake, pinSelf } from './processes.ts';
import { type BenchResult, formatResult } from './report.ts';
import { type CaseResult, runCase } from './run-case.ts';

const USAGE = `Usage: npm run bench -- [options]

Compares cambist with other proxies. All run at the same time and are measured in turn.
  --case NAME        run only this case; can be repeated
  --seconds N        seconds for each proxy in each round (default: 1)
  --rounds N         number of rounds (default: 6)
  --quick            a smoke test with short rounds; do not quote its figures
  --node FILE        run the proxies on this Node (default: the Node that runs the bench)
  --json             print JSON

  --against BUILD    compare this build with another one only: a git revision, or a file main.js.
                     The exit code is 1 if this build takes more CPU: more than 10 %, with 95 % confidence
`;

const FULL: Bounds = { rounds: 6, seconds: 1, warmSeconds: 1, memoryRequests: 1_000_000 };
const QUICK: Bounds = { rounds: 1, seconds: 0.3, warmSeconds: 0.2, memoryRequests: 10_000 };

type Job =
  | { readonly do: 'help' }
  | ({ readonly do: 'compare' } & Comparison)
  | {
      readonly do: 'measure';
      readonly cases: readonly Case[];
      readonly bounds: Bounds;
      readonly node: string;
      readonly json: boolean;
    };

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

/** @throws Error for an invalid argument */
function readArguments(args: string[]): Job {
  const { values } = parseArgs({
    args,
    options: {
      case: { type: 'string', multiple: true },
      seconds: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      node: { type: 'string', default: process.execPath },
      json: { type: 'boolean', default: false },
      against: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return { do: 'help' };
  const { node, json, against } = values;
  const preset = against === undefined ? FULL : SHORT;
  const { seconds, rounds, ...bounds } = values.quick ? QUICK : preset;
  const chosen: Bounds = {
    ...bounds,
    seconds: values.seconds === undefined ? seconds : positive('--seconds', values.seconds),
    rounds: values.rounds === undefined ? rounds : Math.ceil(positive('--rounds', values.rounds)),
  };
  const cases = listCases(createPeers());
  const names = values.case ?? (against === undefined ? cases.map(({ name }) => name) : USUAL_CASES);
  const unknown = names.find((name) => !cases.some((known) => known.name === name));
  if (unknown !== undefined) {
    throw new Error(`unknown case "${unknown}": use ${cases.map(({ name }) => name).join(', ')}`);
  }
  if (against !== undefined) return { do: 'compare', against, names, bounds: chosen, node, json };
  const wanted = cases.filter(({ name }) => names.includes(name));
  return { do: 'measure', cases: wanted, bounds: chosen, node, json };
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${option} must be greater than 0`);
  return value;
}
