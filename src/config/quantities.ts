import type { ConfigNode } from './config-node.ts';
import { parseDuration, parseSize } from './units.ts';

/** Bounds as the file would write them. */
interface Bounds {
  readonly min?: string;
  readonly max: string;
}

/**
 * Milliseconds of a duration that has the right form. One out of bounds is told to the place; the config that it would
 * stand in is then never used.
 */
export function readDuration(written: string | number, node: ConfigNode, bounds: Bounds): number {
  return within(parseDuration(written), node, bounds, parseDuration);
}

/** Bytes of a size that has the right form, likewise. */
export function readSize(written: string | number, node: ConfigNode, bounds: Bounds): number {
  return within(parseSize(written), node, bounds, parseSize);
}

function within(
  amount: number | undefined,
  node: ConfigNode,
  { min = '0', max }: Bounds,
  parse: (text: string) => number | undefined,
): number {
  if (amount === undefined) return 0;
  if (amount < (parse(min) ?? 0)) node.error(`must be at least ${min}`);
  if (amount > (parse(max) ?? 0)) node.error(`must be at most ${max}`);
  return amount;
}
