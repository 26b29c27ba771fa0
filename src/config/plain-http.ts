/** Suffixes of names inside the cluster or machine. No public DNS server has them, and plain http to them stays inside. */
const INTERNAL_SUFFIXES = ['.svc', '.svc.cluster.local', '.local', '.internal', '.localhost'];

/**
 * Tells whether public DNS can have this name. Its owner could then point it at cambist's address (DNS rebinding).
 * @param host lower case, without port; IPv6 in brackets
 */
export function isPublicName(host: string): boolean {
  return !isAddress(host) && !isInternalName(host);
}

/**
 * Tells whether another machine can choose what this name resolves to: in public DNS, or by multicast DNS (`.local`, RFC 6762),
 * LLMNR and DHCP in the local network. A web page there could use DNS rebinding. Other names of loopback, such as `ip6-localhost`,
 * count as well, because not every system has them in `/etc/hosts`.
 * @param host lower case, without port; IPv6 in brackets
 * @see RFC 6761 section 6.3 for `localhost`
 */
export function isForeignName(host: string): boolean {
  return !isAddress(host) && host !== 'localhost' && !host.endsWith('.localhost');
}

/**
 * Tells whether a URL with this host may be plain http: loopback and cluster-internal names, of one label or with a known suffix.
 * @param hostname as in `URL.hostname`: lower case, IPv6 in brackets
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
