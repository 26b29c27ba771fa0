/** Names that do not leave the cluster or the machine, so that plain http to them crosses no foreign network. */
const INTERNAL_SUFFIXES = ['.svc', '.svc.cluster.local', '.local', '.internal', '.localhost'];

/**
 * May a URL with this host be plain http? To loopback and to cluster-internal names: one label, or a known suffix.
 * @param hostname as `URL.hostname` gives it: lower case, IPv6 in brackets
 */
export function mayUsePlainHttp(hostname: string): boolean {
  if (hostname.startsWith('[')) return hostname === '[::1]';
  if (/^\d+\.\d+\.\d+\.\d+$/.test(hostname)) return hostname.startsWith('127.');
  return !hostname.includes('.') || INTERNAL_SUFFIXES.some((suffix) => hostname.endsWith(suffix));
}
