import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { clientCertificate, setClient } from '../../../src/listeners/client-certificates.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';

test('refuses each request of a client whose certificate cannot be verified again', () => {
  const authority = createCertificateAuthority();
  const certificate = new X509Certificate(authority.issueClient().cert);
  const issuer = new X509Certificate(authority.cert);
  const socket = { getPeerX509Certificate: () => certificate } as TLSSocket;
  const trust = { issuers: [issuer] };
  assert.ok(setClient(socket, trust));
  assert.equal(clientCertificate(socket, Date.now()), certificate);
  const unreadable = {
    get ca(): boolean {
      throw new Error('unsupported');
    },
  };
  trust.issuers = [unreadable as unknown as X509Certificate];
  for (let request = 0; request < 2; request += 1) {
    assert.throws(() => clientCertificate(socket, Date.now()), /unsupported/);
  }
});
