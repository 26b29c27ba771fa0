import { declareInterruptionTests } from '../../harness/client-interruptions.ts';
import { SPEAKERS } from './speakers.ts';

for (const speaker of SPEAKERS) declareInterruptionTests(speaker);
