import { testDataPlane } from './cases.ts';
import { haproxy } from './planes.ts';

testDataPlane(haproxy);
