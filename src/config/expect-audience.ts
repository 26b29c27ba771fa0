import type { ConfigNode } from './config-node.ts';
import { toList, type Written } from './targets.ts';

/**
 * Check of the `aud` of an issued JWT. A list: `aud` must contain one of these. `only`: it must also contain nothing else.
 * `any`: no check.
 */
export type ExpectedAudience = readonly string[] | { readonly only: readonly string[] } | 'any';

export function readExpectAudience(
  written: Written | { readonly only?: Written },
  node: ConfigNode,
): ExpectedAudience | undefined {
  if (typeof written !== 'object' || 'length' in written) return readAudiences(written, node);
  const only = readList(written.only, node.at('only'), 'write expect_audience: any');
  return only && { only };
}

/** Audiences of which a token must have one, or `any`. */
export function readAudiences(written: Written, node: ConfigNode): readonly string[] | 'any' | undefined {
  return written === 'any' ? 'any' : readList(written, node, 'write the single value any');
}

/** @param noCheck how to turn the check off */
function readList(written: Written, node: ConfigNode, noCheck: string): readonly string[] | undefined {
  const list = toList(written);
  if (list?.includes('any')) node.error(`contains "any": to turn the check off, ${noCheck}`);
  if (list?.length === 0) node.error(`must not be empty: name an audience; to turn the check off, ${noCheck}`);
  return list;
}
