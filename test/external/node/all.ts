/** `npm run test:node`: all of these share one node. */
import { describe } from 'node:test';
// Its servers must run until the last test.
import './node.ts';

/** The files of a lane run one after the other. Those of the first one use the namespace of the pages. */
const LANES = [
  ['first-call', 'gateway-agents', 'replicas'],
  ['pods'],
  ['operations', 'teams'],
  ['sidecars', 'network-policy', 'cert-manager', 'replicas-chart'],
];

describe('pods and pages', { concurrency: true }, () => {
  for (const lane of LANES) {
    describe(lane.join(', '), { concurrency: 1 }, async () => {
      for (const file of lane) await import(`./${file}.test.ts`);
    });
  }
});

// These run by themselves, because their clients take all the time of the processors.
describe('rollouts', { concurrency: 3 }, async () => {
  await import('./rollouts.test.ts');
});
