import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter, Gauge, Registry } from 'prom-client';
import { createExposition } from '../../../src/observability/exposition.ts';
import { counter } from '../../../src/observability/metric-families.ts';

function registryOfTwo(): Registry {
  const registry = new Registry();
  const registers = [registry];
  new Counter({ name: 'calls_total', help: 'Calls.', labelNames: ['route'], registers }).inc({ route: 'a"b' }, 3);
  new Gauge({ name: 'size', help: 'Size.', registers }).set(7);
  return registry;
}

const own = counter('own_total', 'Own.', () => [{ labels: {}, value: 1 }]);

test('writes the metrics of the registry and then its own', async () => {
  const registry = registryOfTwo();
  const text = `${await registry.metrics()}\n# HELP own_total Own.\n# TYPE own_total counter\nown_total 1\n`;
  assert.equal(await createExposition(registry, [own]).write(), text);
});

test('lets other work run after each metric', async () => {
  let turns = 0;
  let done = false;
  const turn = (): void => {
    turns += 1;
    if (!done) setImmediate(turn);
  };
  setImmediate(turn);
  await createExposition(registryOfTwo(), [own]).write();
  done = true;
  assert.ok(turns >= 3, `${turns} turns`);
});
