import type { ConfigNode } from './config-node.ts';

/** A variable as in a shell, a template engine or other configs. */
export const PLACEHOLDER = /\$\{[A-Za-z_]/;

export const NOT_REPLACED =
  'contains a variable in braces, which cambist does not replace: write the value itself, or replace the variable before cambist reads the file';

/** Warns of texts that contain a variable, because cambist sends them as written. */
export function warnOfPlaceholders(value: unknown, node: ConfigNode): void {
  if (typeof value === 'string') {
    if (PLACEHOLDER.test(value)) node.warn(NOT_REPLACED);
  } else if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) warnOfPlaceholders(entry, node.at(index));
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, entry] of Object.entries(value)) warnOfPlaceholders(entry, node.at(key));
  }
}
