import type { ConfigNode } from '../documents/config-node.ts';

/** Headers for the next hop only (RFC 9110 section 7.6.1), and `Expect`, which this hop handles. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te'],
  ...['trailer', 'transfer-encoding', 'upgrade', 'http2-settings', 'expect'],
]);

/** Headers that frame or describe a message (RFC 9110 section 8) cannot have another role. */
const RESERVED = new Set([...HOP_BY_HOP, 'content-encoding', 'content-length', 'content-type', 'host']);

/** Reads the name of a header with a role, in lower case. Refuses headers that HTTP needs. */
export function readHeaderName(written: string, node: ConfigNode): string {
  const name = written.toLowerCase();
  if (RESERVED.has(name)) node.error(`"${name}" is reserved for HTTP itself: use another header`);
  return name;
}

/** Headers that cambist writes itself, or that say what kind of response the caller wants. */
const NOT_FOR_CREDENTIALS = new Set(['accept', 'dpop', 'x-request-id', 'traceparent', 'tracestate', 'baggage']);

/** Checks the header that a credential goes into. Other parts of HTTP and MCP need the refused ones. */
export function checkCredentialHeader(written: string, node: ConfigNode): void {
  const name = readHeaderName(written, node);
  if (NOT_FOR_CREDENTIALS.has(name)) node.error(`"${name}" has another purpose: use another header`);
  if (/^mcp[-_]/.test(name)) node.error('headers that begin with "mcp-" belong to MCP: use another header');
}
