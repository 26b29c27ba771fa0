/** Names inside the cluster or machine. Plain http to them crosses no foreign network, and no public DNS server has them. */
const INTERNAL_SUFFIXES = ['.svc', '.svc.cluster.local', '.local', '.internal', '.localhost'];

/**
 * Can a DNS server on the internet have this name? Its owner can then point it at our address (DNS rebinding).
 * @param host lower case, without port; IPv6 in brackets
 */
export function isPublicName(host: string): boolean {
  return !isAddress(host) && !isInternalName(host);
}

/**
 * May a URL with this host be plain http? To loopback and to cluster-internal names: one label, or a known suffix.
 * @param hostname as `URL.hostname` gives it: lower case, IPv6 in brackets
 */
export function mayUsePlainHttp(hostname: string): boolean {
  if (isAddress(hostname)) return hostname === '[::1]' || hostname.startsWith('127.');
  return isInternalName(hostname);
}

function isAddress(host: string): boolean {
  return host.startsWith('[') || /^\d+\.\d+\.\d+\.\d+$/.test(host);
}

function isInternalName(host: string): boolean {
  return !host.includes('.') || INTERNAL_SUFFIXES.some((suffix) => host.endsWith(suffix));
}
