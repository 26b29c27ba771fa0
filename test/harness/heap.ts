import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

export const collectGarbage: () => void = runInNewContext('gc');

/** Bytes of the heap in use after garbage collection. */
export function usedHeapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** Bytes that each of many values keeps in memory. */
export function keptBytesEach(make: (index: number) => unknown, count = 200): number {
  const before = usedHeapBytes();
  const all = Array.from({ length: count }, (_, index) => make(index));
  return (usedHeapBytes() - before) / all.length;
}

/** A new string of 60 KiB, like one from the network. */
export function longText(index: number): string {
  return JSON.parse(`"${index} ${'word '.repeat(12_000)}"`);
}
