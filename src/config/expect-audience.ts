import type { ConfigNode } from './config-node.ts';
import type { Loose } from './loose.ts';
import type { ExpectedAudience } from './route.ts';
import type { DefaultsFile } from './schema-route.ts';
import { toList, type Written } from './targets.ts';

export function readExpectAudience(
  written: Loose<DefaultsFile>['expect_audience'],
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
