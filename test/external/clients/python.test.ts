import { after } from 'node:test';
import { declareCallTests } from '../../harness/client-calls.ts';
import { declareInterruptionTests } from '../../harness/client-interruptions.ts';
import { startPythonDriver } from './install.ts';

const driver = await startPythonDriver();
after(driver.close);

for (const sdk of [driver.sdk('Python SDK, legacy', 'legacy'), driver.sdk('Python SDK, negotiated', 'auto')]) {
  declareCallTests(sdk);
  declareInterruptionTests(sdk);
}
