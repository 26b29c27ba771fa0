import { declareCallTests } from '../../harness/client-calls.ts';
import { SPEAKERS } from './speakers.ts';

for (const speaker of SPEAKERS) declareCallTests(speaker);
