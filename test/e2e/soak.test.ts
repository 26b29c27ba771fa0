import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reportSoak } from '../soak/report.ts';
import { runSoak } from '../soak/run-soak.ts';

test('a soak of seconds serves every kind of call, reloads nothing away, and leaves nothing open', async () => {
  const result = await runSoak({ seed: 1, ms: 3000, rate: 40 });
  const { problems, rows } = reportSoak(result);
  assert.deepEqual(problems, []);
  assert.equal(result.samples.length, 60);
  assert.equal(rows.length, 6);
  for (const { trend } of rows) assert.ok(trend.mean > 0);
  for (const outcome of ['cached: 200', 'new caller: 200', 'stream: 200', 'upload: 200', 'no token: 401']) {
    assert.ok((result.outcomes.get(outcome) ?? 0) > 0, outcome);
  }
  const unexpected = [...result.outcomes.keys()].filter((key) => !/: (200|401)$|^left: /.test(key));
  assert.deepEqual(unexpected, []);
});
