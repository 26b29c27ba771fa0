import type { ConfigNode } from './config-node.ts';
import { parseDuration, parseSize } from './units.ts';

/** Bounds, written as in the config file. */
interface Bounds {
  readonly min?: string;
  readonly max: string;
}

/** Milliseconds of a well-formed duration. A value out of bounds is reported to `node`. */
export function readDuration(written: string | number, node: ConfigNode, bounds: Bounds): number {
  return within(parseDuration(written), node, bounds, parseDuration);
}

/** Bytes of a well-formed size. A value out of bounds is reported to `node`. */
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
