import { isIP } from 'node:net';
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

function subtrees(names: readonly Partial<GeneralName>[]): GeneralSubtrees {
  return new GeneralSubtrees(names.map((name) => new GeneralSubtree({ base: new GeneralName(name) })));
}
