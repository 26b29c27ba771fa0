import { testDataPlane } from './cases.ts';
import { envoy } from './planes.ts';

testDataPlane(envoy);
