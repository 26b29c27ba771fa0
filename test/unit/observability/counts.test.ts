import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCounts } from '../../../src/observability/counts.ts';
import { configOf, VALID } from '../config/sample.ts';

test('forgets the oldest removed routes of teams, which may invent any number of names', () => {
  const config = configOf(VALID);
  const [own] = config.routes;
  assert.ok(own);
  const counts = createCounts(Date.now);
  const ofTeam = (first: number) =>
    Array.from({ length: 600 }, (_, n) => ({ ...own, name: `billing/r${first + n}`, team: 'billing' }));
  counts.serve({ ...config, routes: [own, ...ofTeam(0)] });
  counts.route('billing/r1').inFlight = 1;
  counts.serve({ ...config, routes: [...ofTeam(600)] });
  const served = config.routes.length + 1200;
  const names = () => counts.routes().flatMap(({ route }) => (route.startsWith('_') ? [] : [route]));
  assert.equal(names().length, served, 'a region that is closed for a while keeps its counts');
  counts.serve({ ...config, routes: [] });
  assert.equal(names().length, 1000 + 2);
  assert.ok([own.name, 'billing/r1', 'billing/r1199'].every((name) => names().includes(name)));
  assert.ok(!names().includes('billing/r0'));
  counts.serve({ ...config, routes: [] });
  assert.equal(names().length, 1000 + 2);
});
