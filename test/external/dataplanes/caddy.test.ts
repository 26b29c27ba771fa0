import { testDataPlane } from './cases.ts';
import { caddy } from './planes.ts';

testDataPlane(caddy);
