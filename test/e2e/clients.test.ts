import { SDKS } from '../harness/agent-client.ts';
import { declareCallTests, declareInterruptionTests } from '../harness/client-tests.ts';

for (const sdk of SDKS) {
  declareCallTests(sdk);
  declareInterruptionTests(sdk);
}
