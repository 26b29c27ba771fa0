/** A host as URLs and `Host` have it: an IPv6 address in brackets. @param host a name, or an address without brackets */
export function withBrackets(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** A host as sockets and certificates have it: an IPv6 address without brackets. */
export function withoutBrackets(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}
