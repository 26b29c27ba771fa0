import { after } from 'node:test';
import { declareCallTests } from '../../harness/client-calls.ts';
import { declareInterruptionTests } from '../../harness/client-interruptions.ts';
import { startPythonDriver } from './install.ts';

const driver = await startPythonDriver();
after(driver.close);

for (const speaker of [
  driver.speaker('Python SDK, legacy', 'legacy'),
  driver.speaker('Python SDK, negotiated', 'auto'),
]) {
  declareCallTests(speaker);
  declareInterruptionTests(speaker);
}
