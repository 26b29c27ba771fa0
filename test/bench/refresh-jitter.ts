import { parseArgs } from 'node:util';
import { computeLifetime } from '../../src/tokens/lifetime.ts';
import { createRandom } from './programs/random.ts';
import { simulateRefreshes } from './refresh-simulation.ts';

const USAGE = `Usage: npx tsx test/bench/refresh-jitter.ts [options]

Simulates the token requests of many pods that start together. Each has one session in steady use.
  --pods N       number of pods (default: 10000)
  --within N     seconds within which all pods start (default: 10)
  --expires N    \`expires_in\` of issued tokens, in seconds (default: 300)
  --hours N      simulated hours (default: 1)
`;

/** The first minutes are all shown. Later, the load is constant. */
const SHOWN_MINUTES = 16;

const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '10000' },
    within: { type: 'string', default: '10' },
    expires: { type: 'string', default: '300' },
    hours: { type: 'string', default: '1' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) process.stdout.write(USAGE);
else report();

function report(): void {
  const [pods, within, expires, hours] = [values.pods, values.within, values.expires, values.hours].map(Number);
  const common = { pods: pods ?? 0, withinSeconds: within ?? 0, endSeconds: 3600 * (hours ?? 0) };
  const random = createRandom(1);
  const withJitter = simulateRefreshes({ ...common, nextAfterSeconds: () => refreshAfterSeconds(random()), random });
  const without = simulateRefreshes({ ...common, nextAfterSeconds: () => refreshAfterSeconds(0), random });
  const mean = withJitter.reduce((sum, count) => sum + count, 0) / withJitter.length;
  const lines = ['minute | max per second | without jitter', '-----: | -------------: | -------------:'];
  for (let minute = 0; minute * 60 < withJitter.length; minute += 1) {
    const max = (counts: readonly number[]): number => Math.max(...counts.slice(60 * minute, 60 * (minute + 1)));
    if (minute < SHOWN_MINUTES || minute % 10 === 9) {
      lines.push(`${minute + 1} | ${max(withJitter)} | ${max(without)}`);
    }
  }
  process.stdout.write(`${lines.join('\n')}\n\nmean: ${mean.toFixed(1)} exchanges a second\n`);

  function refreshAfterSeconds(chance: number): number {
    const bounds = { sentAtMs: 0, expiresInSeconds: expires ?? 0, subjectExpiresAtMs: undefined, maxAgeMs: 5 * 60_000 };
    return computeLifetime(undefined, bounds, { monotonicMs: () => 0, wallMs: () => 0 }, chance).refreshAtMs / 1000;
  }
}
