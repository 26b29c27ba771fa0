import { testDataPlane } from './cases.ts';
import { nginx } from './planes.ts';

testDataPlane(nginx);
