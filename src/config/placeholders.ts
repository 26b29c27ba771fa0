import type { ConfigNode } from './config-node.ts';

/** As a shell, a template engine or another program's config would name a variable. */
const PLACEHOLDER = /\$\{[A-Za-z_]/;

/**
 * Warns of each text of a file that reads as if a variable were to be put into it: it would go out as it stands, to no good.
 * @param value what the schema has left of the file, which holds nothing that is a part of itself
 */
export function warnOfPlaceholders(value: unknown, node: ConfigNode): void {
  if (typeof value === 'string') {
    if (!PLACEHOLDER.test(value)) return;
    node.warn(
      'has a variable in it ("$" and braces), and none is replaced here: write the value itself, or have it put in before cambist reads the file',
    );
  } else if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) warnOfPlaceholders(entry, node.at(index));
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, entry] of Object.entries(value)) warnOfPlaceholders(entry, node.at(key));
  }
}
