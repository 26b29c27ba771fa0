import { BlockList, isIP } from 'node:net';
import { GeneralName, GeneralSubtree, GeneralSubtrees, NameConstraints } from '@peculiar/asn1-x509';

/** Every DNS name: the empty suffix. */
const ALL_NAMES = { dNSName: '' };

const ALL_ADDRESSES = [{ iPAddress: '0.0.0.0/0' }, { iPAddress: '::/0' }];

/**
 * Permits these hosts and, by the rule of RFC 5280, all names below a permitted name. If no host is a name, or none is an
 * address, that kind is excluded: a constraint on names alone leaves addresses unconstrained.
 * @param hosts names, `*.` and a name for all names below it, and addresses
 * @see https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.10
 */
export function nameConstraints(hosts: readonly string[]): NameConstraints {
  const addresses = hosts.filter((host) => isIP(host) !== 0);
  const names = hosts.filter((host) => isIP(host) === 0);
  const permitted = [
    // A suffix that begins with a dot is that of the names below.
    ...names.map((name) => ({ dNSName: name.replace(/^\*(?=\.)/, '') })),
    ...addresses.map((address) => ({ iPAddress: `${address}/${isIP(address) === 4 ? 32 : 128}` })),
  ];
  const excluded = [...(names.length === 0 ? [ALL_NAMES] : []), ...(addresses.length === 0 ? ALL_ADDRESSES : [])];
  return new NameConstraints({
    ...(permitted.length === 0 ? {} : { permittedSubtrees: subtrees(permitted) }),
    ...(excluded.length === 0 ? {} : { excludedSubtrees: subtrees(excluded) }),
  });
}

/**
 * Returns whether constraints permit a host.
 * @param host a name, `*.` and a name for all names below it, or an address
 */
export function permitsHost({ permittedSubtrees, excludedSubtrees }: NameConstraints, host: string): boolean {
  const isName = isIP(host) === 0;
  const ofKind = (all: GeneralSubtrees | undefined): GeneralName[] =>
    [...(all ?? [])].map(({ base }) => base).filter(({ dNSName }) => (dNSName !== undefined) === isName);
  const contains = (base: GeneralName): boolean =>
    isName ? isBelow(host, base.dNSName ?? '') : isWithin(host, base.iPAddress ?? '');
  const permitted = ofKind(permittedSubtrees).filter(({ dNSName, iPAddress }) => (dNSName ?? iPAddress) !== undefined);
  return (permitted.length === 0 || permitted.some(contains)) && !ofKind(excludedSubtrees).some(contains);
}

/** @param host all names below `*.` are meant @param suffix of a constraint; empty for every name */
function isBelow(host: string, suffix: string): boolean {
  const name = host.replace(/^\*/, '');
  if (suffix === '' || name === suffix) return true;
  return name.endsWith(suffix.startsWith('.') ? suffix : `.${suffix}`);
}

/** @param range an address and its prefix length, or its mask */
function isWithin(address: string, range: string): boolean {
  const [network = '', prefix] = range.split('/');
  const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
  if (isIP(network) !== isIP(address) || !/^\d+$/.test(prefix ?? '')) return false;
  const list = new BlockList();
  list.addSubnet(network, Number(prefix), family);
  return list.check(address, family);
}

function subtrees(names: readonly Partial<GeneralName>[]): GeneralSubtrees {
  return new GeneralSubtrees(names.map((name) => new GeneralSubtree({ base: new GeneralName(name) })));
}
