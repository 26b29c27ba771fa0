/** `npm run test:node`: all of these share one node. */
import { describe } from 'node:test';
// Its servers must run until the last test.
import './node.ts';

describe('the node', { concurrency: true }, () => {
  // In the namespace of the pages. Each test waits until it is gone again, so this lane takes longest.
  lane('first-call', 'gateway-agents', 'replicas');
  describe('the others, and then rollouts', { concurrency: 1 }, () => {
    describe('the others', { concurrency: true }, () => {
      lane('pods');
      lane('operations', 'teams');
      lane('sidecars', 'network-policy', 'cert-manager', 'replicas-chart');
    });
    describe('rollouts', { concurrency: true }, async () => {
      await import('./rollouts.test.ts');
    });
  });
});

/** Runs files one after the other. */
function lane(...files: readonly string[]): void {
  describe(files.join(', '), { concurrency: 1 }, async () => {
    for (const file of files) await import(`./${file}.test.ts`);
  });
}
