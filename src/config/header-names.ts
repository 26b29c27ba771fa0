import type { ConfigNode } from './config-node.ts';

/** Meant for the next hop only (RFC 9110 section 7.6.1), or answered by this one (`Expect`). */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
]);

/** What frames a message and says what it is (RFC 9110 section 8) can bear nothing of a user's either. */
const RESERVED = new Set([...HOP_BY_HOP, 'content-encoding', 'content-length', 'content-type', 'host']);

/** Lower-case name of a header that config gives a role; one that HTTP itself needs is refused. */
export function readHeaderName(written: string, node: ConfigNode): string {
  const name = written.toLowerCase();
  if (RESERVED.has(name)) node.error(`"${name}" is a header that HTTP itself needs: name another`);
  return name;
}

export interface NamedHeader {
  readonly name: string;
  readonly node: ConfigNode;
}

/** Refuses a header that bears the subject token or the session on one side and something else on the other. */
export function refuseSharedHeaders(
  session: NamedHeader,
  host: NamedHeader | undefined,
  subjects: readonly NamedHeader[],
) {
  if (host?.name === session.name) host.node.error('is the session header as well: name another');
  for (const { name, node } of subjects) {
    if (name === session.name) node.error('bears the subject token and is the session header as well: name another');
    if (name === host?.name) node.error('bears the subject token and is the host header as well: name another');
  }
}
