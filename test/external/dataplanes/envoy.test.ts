import { testDataPlane } from './cases.ts';
import { envoy } from './planes.ts';

for (const by of ['http', 'ext_authz', 'ext_proc'] as const) testDataPlane(envoy, by);
