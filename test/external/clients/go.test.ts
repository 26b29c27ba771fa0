import { after } from 'node:test';
import { declareCallTests } from '../../harness/client-calls.ts';
import { declareInterruptionTests } from '../../harness/client-interruptions.ts';
import { startGoDriver } from './install.ts';

const driver = await startGoDriver();
after(driver.close);

// The SDK delivers notifications in a separate goroutine.
const traits = { progressMayLag: true };

for (const sdk of [driver.sdk('Go SDK, legacy', 'legacy', traits), driver.sdk('Go SDK, negotiated', 'auto', traits)]) {
  declareCallTests(sdk);
  declareInterruptionTests(sdk);
}
