import type { Random } from '../chaos/random.ts';

/** Longest input. Every parser that is fuzzed has decided what to do well before that. */
export const MAX_INPUT_BYTES = 4096;

/** Bytes that parsers treat in their own way. */
const SPECIAL = Buffer.from('\0\t\n\r "#%&\'(),/:;<=>?@[\\]{|}~\x7f\x80\xc3\xff');

/**
 * Changes an input in a few random places.
 * @param corpus other inputs, to take parts from
 * @param words texts that the code compares with
 */
export function mutate(input: Buffer, random: Random, corpus: readonly Buffer[], words: readonly Buffer[]): Buffer {
  let mutated = input;
  for (let rest = 1 + random.int(5); rest > 0; rest -= 1) mutated = mutateOnce(mutated, random, corpus, words);
  return mutated.subarray(0, MAX_INPUT_BYTES);
}

function mutateOnce(input: Buffer, random: Random, corpus: readonly Buffer[], words: readonly Buffer[]): Buffer {
  const at = random.int(input.length + 1);
  const length = random.int(Math.min(input.length - at, 32) + 1);
  switch (random.int(8)) {
    case 0:
      return splice(input, at, Math.min(1, input.length - at), Buffer.of(random.int(256)));
    case 1:
      return splice(input, at, 0, special(random));
    case 2:
      return splice(input, at, Math.min(1, input.length - at), special(random));
    case 3:
      return splice(input, at, length, Buffer.alloc(0));
    case 4: {
      // Repeated, up to sizes at which limits are.
      const part = input.subarray(at, at + length);
      return splice(input, at, 0, Buffer.concat(Array.from({ length: 2 ** random.int(8) }, () => part)));
    }
    case 5: {
      const other = corpus[random.int(corpus.length)] ?? input;
      const from = random.int(other.length + 1);
      return splice(input, at, length, other.subarray(from, from + random.int(other.length - from + 1)));
    }
    case 6: {
      const word = words[random.int(words.length)];
      return word === undefined ? input : splice(input, at, random.chance(0.5) ? 0 : length, word);
    }
    default:
      return splice(input, at, length, Buffer.from(String(random.pick([0, -1, 1, 16, 255, 65_536, 2 ** 31, 1e21]))));
  }
}

function special(random: Random): Buffer {
  const at = random.int(SPECIAL.length);
  return SPECIAL.subarray(at, at + 1);
}

function splice(input: Buffer, at: number, remove: number, insert: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, at), insert, input.subarray(at + remove)]);
}
