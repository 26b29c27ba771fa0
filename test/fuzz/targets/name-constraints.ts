import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { AsnConvert } from '@peculiar/asn1-schema';
import { NameConstraints } from '@peculiar/asn1-x509';
import { readHostPattern } from '../../../src/config/match.ts';
import { nameConstraints } from '../../../src/transport/certificates.ts';

/** The encoded constraints permit the given hosts and nothing else. Input: hosts, a line each. */
export function fuzz(data: Buffer): void {
  const hosts = data
    .toString('latin1')
    .split('\n')
    .flatMap((line) => {
      // As the config has it, which writes IPv6 in brackets.
      const reading = readHostPattern(line);
      return 'value' in reading ? reading.value.replace(/^\[|\]$/g, '') : [];
    })
    .slice(0, 20);
  const der = AsnConvert.serialize(nameConstraints(hosts));
  const { permittedSubtrees, excludedSubtrees } = AsnConvert.parse(der, NameConstraints);
  const permitted = Array.from(permittedSubtrees ?? [], ({ base }) => base);
  const excluded = Array.from(excludedSubtrees ?? [], ({ base }) => base);
  const names = hosts.filter((host) => isIP(host) === 0);
  const addresses = hosts.filter((host) => isIP(host) !== 0);
  assert.deepEqual(
    permitted.flatMap(({ dNSName }) => dNSName ?? []),
    names.map((name) => name.replace('*.', '.')),
  );
  assert.equal(permitted.filter(({ iPAddress }) => iPAddress !== undefined).length, addresses.length);
  assert.equal(permitted.length, hosts.length);
  // A kind of name that no host has is excluded as a whole.
  assert.equal(excluded.filter(({ dNSName }) => dNSName === '').length, names.length === 0 ? 1 : 0);
  assert.equal(excluded.filter(({ iPAddress }) => iPAddress !== undefined).length, addresses.length === 0 ? 2 : 0);
}
