import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { expose } from '../../../src/observability/exposition.ts';

function registryOfThree(): Registry {
  const registry = new Registry();
  const registers = [registry];
  new Counter({ name: 'calls_total', help: 'Calls.', labelNames: ['route'], registers }).inc({ route: 'a"b' }, 3);
  new Gauge({
    name: 'size',
    help: 'Size.',
    registers,
    collect() {
      this.set(7);
    },
  });
  new Histogram({ name: 'took_seconds', help: 'Took.', labelNames: ['route'], registers }).observe({ route: 'r' }, 0.2);
  return registry;
}

test('the text is that of the registry', async () => {
  const registry = registryOfThree();
  assert.equal(await expose(registry), await registry.metrics());
});

test('others are served after each metric', async () => {
  let turns = 0;
  let done = false;
  const turn = (): void => {
    turns += 1;
    if (!done) setImmediate(turn);
  };
  setImmediate(turn);
  await expose(registryOfThree());
  done = true;
  assert.ok(turns >= 3, `${turns} turns`);
});
