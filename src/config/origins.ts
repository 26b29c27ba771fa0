import type { ConfigNode } from './config-node.ts';

/** Scheme and authority as browsers send them in `Origin` (RFC 6454 section 6.2). */
const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^/?#@*\s]+$/;

/** Reads `allowed_origins`. Browsers send an origin in one form only, so any other would never match. */
export function readOrigins(
  written: readonly (string | undefined)[] | undefined,
  node: ConfigNode,
): readonly string[] | undefined {
  const origins = new Set<string>();
  for (const [index, origin] of (written ?? []).entries()) {
    if (origin === undefined) continue;
    origins.add(origin);
    const form = serialized(origin);
    if (form === origin) continue;
    node
      .at(index)
      .error(
        form === undefined
          ? 'must be the origin of a web page, with only scheme, host and port, as in https://app.example.com'
          : `must be written as browsers send it: "${form}"`,
      );
  }
  return written === undefined ? undefined : [...origins];
}

function serialized(text: string): string | undefined {
  const origin = text.toLowerCase().replace(/\/$/, '');
  if (!ORIGIN.test(origin) || !URL.canParse(origin)) return undefined;
  // URL has no origin for an unknown scheme, such as that of a browser extension.
  const known = new URL(origin).origin;
  return known === 'null' ? origin : known;
}
