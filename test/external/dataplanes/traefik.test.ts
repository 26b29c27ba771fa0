import { testDataPlane } from './cases.ts';
import { traefik } from './planes.ts';

testDataPlane(traefik);
