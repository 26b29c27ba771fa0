import { loadavg } from 'node:os';
import { print, readRun } from '../chaos/base.ts';
import { formatRows, reportSoak } from './report.ts';
import { runSoak } from './run-soak.ts';

const USAGE = `Usage: npm run soak -- [options]

Runs the built program under a mixed load, and prints the slopes of memory, open files and latencies. Fails if
memory or open files rise, which a run of less than ten minutes cannot tell, or if anything is left after the load.
  --minutes N    how long (default: 60)
  --rate N       actions a second (default: 50)
  --seed N       repeats the choices of a run, though not its timing
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const options = readRun(USAGE, { minutes: 60, rate: 50 });
  if (typeof options === 'number') return options;
  const { minutes, rate, seed } = options;
  print(`soak for ${minutes} min: npm run soak -- --minutes ${minutes} --rate ${rate} --seed ${seed}`);
  const result = await runSoak({ seed, ms: minutes * 60_000, rate });
  const load = loadavg()
    .map((value) => value.toFixed(1))
    .join(', ');
  const title = `${minutes} min at ${rate} actions a second, ${result.reloads} reloads`;
  const { rows, problems } = reportSoak(result);
  for (const [outcome, count] of [...result.outcomes].sort()) print(`${outcome}: ${count}`);
  print(`\n${title}; load of the machine at the end: ${load}\n\n${formatRows(rows)}`);
  for (const problem of problems) print(`PROBLEM: ${problem}`);
  print(problems.length === 0 ? 'passed' : `failed: repeat it with --seed ${seed}`);
  return problems.length === 0 ? 0 : 1;
}
