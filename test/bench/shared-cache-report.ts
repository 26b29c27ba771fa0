import { parseArgs } from 'node:util';
import { createRandom } from './programs/random.ts';
import { type SharedCacheSecond, simulateSharedCache } from './shared-cache-simulation.ts';

const USAGE = `Usage: npx tsx test/bench/shared-cache-report.ts [options]

Simulates a gateway of many replicas with and without the shared cache, and with callers that reach one replica or all of them. All
replicas restart at the end.
  --replicas N       (default: 100)
  --callers N        each with one session and one route (default: 1000000)
  --requests N       requests a second of all callers (default: 20000)
  --max-entries N    cache.max_entries of each replica (default: 10000)
  --expires N        \`expires_in\` of issued tokens, in seconds (default: 300)
  --minutes N        simulated time before the restart, at least two lifetimes of a token (default: 10)
  --entry-bytes N    what one token takes in the store (default: 2228)
`;

const MIB = 2 ** 20;
/** The burst after a restart is over by then. */
const RESTART_SECONDS = 10;

const { values } = parseArgs({
  options: {
    replicas: { type: 'string', default: '100' },
    callers: { type: 'string', default: '1000000' },
    requests: { type: 'string', default: '20000' },
    'max-entries': { type: 'string', default: '10000' },
    expires: { type: 'string', default: '300' },
    minutes: { type: 'string', default: '10' },
    'entry-bytes': { type: 'string', default: '2228' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) process.stdout.write(USAGE);
else report();

function report(): void {
  const restartSecond = 60 * Number(values.minutes);
  const endSeconds = restartSecond + RESTART_SECONDS;
  process.stdout.write(
    'shared | sticky | exchanges a second | at the restart | store: operations a second | tokens | MiB\n' +
      '------ | ------ | -----------------: | -------------: | -------------------------: | -----: | --:\n',
  );
  for (const shared of [false, true]) {
    for (const sticky of [false, true]) {
      const seconds = simulateSharedCache({
        replicas: Number(values.replicas),
        callers: Number(values.callers),
        requestsPerSecond: Number(values.requests),
        endSeconds,
        expiresInSeconds: Number(values.expires),
        maxAgeSeconds: 300,
        maxEntries: Number(values['max-entries']),
        shared,
        sticky,
        restartSecond,
        random: createRandom(1),
      });
      // The callers came together, and their first renewals do too. The mean of one lifetime contains each of them once.
      const steady = seconds.slice(restartSecond - Number(values.expires), restartSecond);
      const mean = (of: keyof SharedCacheSecond) => steady.reduce((sum, second) => sum + second[of], 0) / steady.length;
      const peak = Math.max(...seconds.slice(restartSecond).map(({ exchanges }) => exchanges));
      const figures = [mean('exchanges'), peak, mean('operations'), mean('entries')].map(Math.round);
      const mib = Math.round((mean('entries') * Number(values['entry-bytes'])) / MIB);
      process.stdout.write(`${[shared ? 'yes' : 'no', sticky ? 'yes' : 'no', ...figures, mib].join(' | ')}\n`);
    }
  }
}
