import { declareInterruptionTests } from '../../harness/client-interruptions.ts';
import { SDKS } from './sdks.ts';

for (const sdk of SDKS) declareInterruptionTests(sdk);
