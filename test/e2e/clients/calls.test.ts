import { declareCallTests } from '../../harness/client-calls.ts';
import { SDKS } from './sdks.ts';

for (const sdk of SDKS) declareCallTests(sdk);
