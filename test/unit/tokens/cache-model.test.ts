import { test } from 'node:test';
import fc from 'fast-check';
import { propertyRuns } from '../../harness/property-runs.ts';
import { setUpModel } from './cache-model.ts';
import { COMMANDS } from './cache-model-commands.ts';
import { settleFlight } from './cache-model-settle.ts';

const RUNS = propertyRuns(200);

test('the cache behaves like its model for any sequence of events', async () => {
  const setUp = fc.record({
    bound: fc.constantFrom(1, 3, 8, 60, 60),
    random: fc.double({ min: 0, max: 1, noNaN: true }),
    commands: fc.commands(COMMANDS, { maxCommands: 200, size: 'max' }),
  });
  await fc.assert(
    fc.asyncProperty(setUp, async ({ bound, random, commands }) => {
      let last: ReturnType<typeof setUpModel> | undefined;
      await fc.asyncModelRun(() => {
        last = setUpModel(bound, random);
        return last;
      }, commands);
      if (last === undefined) return;
      // No caller is left waiting.
      const { model, real } = last;
      for (const key of [...model.flights.keys()]) {
        await settleFlight(model, real, key, { kind: 'fail', code: 'ERR_STS_UNAVAILABLE' });
      }
    }),
    { numRuns: RUNS },
  );
});
