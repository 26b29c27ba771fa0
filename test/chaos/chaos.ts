import { print, readRun } from './base.ts';
import { runChaos } from './run-chaos.ts';

const USAGE = `Usage: npm run chaos -- [--minutes N] [--seed N]

Runs two replicas of cambist between callers, backends, an authorization server and a store that all misbehave at random, while
configs change and the clock jumps. Fails if a backend gets a token that it must not get, a response reaches another call, a token is logged, or
anything is left in flight.
  --minutes N   how long, 1 by default
  --seed N      repeats the choices of a run, though not its timing
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const options = readRun(USAGE, { minutes: 1 });
  if (typeof options === 'number') return options;
  const { minutes, seed } = options;
  print(`chaos for ${minutes} min: npm run chaos -- --minutes ${minutes} --seed ${seed}`);
  const result = await runChaos({ seed, ms: minutes * 60_000 });
  const { violations, correct, issued, reloads, store, outcomes } = result;
  print(`${correct} right tokens at backends, ${issued} tokens issued, ${reloads} reloads`);
  print(
    store === undefined
      ? 'no Valkey or Redis here, so the replicas shared no cache: bash test/external/store/install-stores.sh'
      : `the store: ${store.hits} hits, ${store.faults} faults, ${store.forged} forged values`,
  );
  print(
    [...outcomes]
      .sort()
      .map(([outcome, count]) => `${outcome}: ${count}`)
      .join(', '),
  );
  for (const violation of violations) print(`VIOLATION: ${violation}`);
  // A run in which nothing happened proves nothing.
  const isVain = correct === 0 || !outcomes.has('200') || reloads === 0 || store?.hits === 0;
  if (isVain) print('nothing was forwarded, or nothing was shared');
  print(violations.length === 0 && !isVain ? 'passed' : `failed: repeat it with --seed ${seed}`);
  return violations.length === 0 && !isVain ? 0 : 1;
}
