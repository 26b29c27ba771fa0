import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { formatRows, reportSoak } from './report.ts';
import { runSoak } from './run-soak.ts';

const USAGE = `Usage: npm run soak -- [options]

Runs the built program under a mixed load, and prints the slopes of memory, open files and latencies. Fails if
memory or open files rise, which a run of less than ten minutes cannot tell, or if anything is left after the load.
  --minutes N    how long (default: 60)
  --rate N       actions a second (default: 50)
  --seed N       repeats the choices of a run, though not its timing
  --node FILE    the Node that runs cambist (default: the one that runs the soak)
`;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: 'string', default: '60' },
      rate: { type: 'string', default: '50' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      node: { type: 'string', default: process.execPath },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const [minutes, rate, seed] = [Number(values.minutes), Number(values.rate), Number(values.seed)];
  if (values.help || !(minutes > 0) || !(rate > 0) || !Number.isSafeInteger(seed)) {
    process.stdout.write(USAGE);
    return values.help ? 0 : 2;
  }
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  print(`soak for ${minutes} min: npm run soak -- --minutes ${minutes} --rate ${rate} --seed ${seed}`);
  const result = await runSoak({ seed, ms: minutes * 60_000, rate, node: values.node, progress: print });
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
