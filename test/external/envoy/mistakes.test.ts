import { testMistakes } from '../dataplanes/mistakes.ts';

testMistakes('envoy');
