import { test } from 'node:test';
import { readCorpus, TARGETS } from './corpus.ts';
import type { Target } from './worker.ts';

for (const name of TARGETS) {
  test(`${name} keeps its promises for every input of the corpus`, async () => {
    const { fuzz } = (await import(`./targets/${name}.ts`)) as { fuzz: Target };
    const corpus = readCorpus(name);
    if (corpus.length === 0) throw new Error('the corpus is empty');
    for (const input of corpus) fuzz(input);
  });
}
