import { after } from 'node:test';
import { declareCallTests } from '../../harness/client-calls.ts';
import { declareInterruptionTests } from '../../harness/client-interruptions.ts';
import { startGoDriver } from './install.ts';

const driver = await startGoDriver();
after(driver.close);

// A goroutine of its own hands over what a server tells.
const traits = { progressMayLag: true };

for (const speaker of [
  driver.speaker('Go SDK, legacy', 'legacy', traits),
  driver.speaker('Go SDK, negotiated', 'auto', traits),
]) {
  declareCallTests(speaker);
  declareInterruptionTests(speaker);
}
