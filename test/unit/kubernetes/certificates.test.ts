import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { createWebhookCertificates } from '../../../src/kubernetes/certificates.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

test('the certificate is one for a server of those names, signed by the authority, with its own key', async () => {
  const { ca, cert, key } = await createWebhookCertificates(['w.ns.svc', 'w.ns.svc.cluster.local'], 30);
  const authority = new X509Certificate(ca);
  const server = new X509Certificate(cert);
  assert.ok(authority.ca);
  assert.ok(!server.ca);
  assert.ok(authority.verify(authority.publicKey));
  assert.ok(server.verify(authority.publicKey));
  assert.ok(server.checkIssued(authority));
  assert.ok(server.checkPrivateKey(createPrivateKey(key)));
  assert.equal(server.checkHost('w.ns.svc.cluster.local'), 'w.ns.svc.cluster.local');
  assert.equal(server.checkHost('other.ns.svc'), undefined);
  assert.deepEqual(server.keyUsage, ['1.3.6.1.5.5.7.3.1']);
});

test('it is good for the days that were asked for, and for clocks that are late', async () => {
  const { cert } = await createWebhookCertificates(['w.ns.svc'], 30);
  const { validFrom, validTo } = new X509Certificate(cert);
  const now = Date.now();
  assert.ok(Date.parse(validFrom) < now - 60_000);
  assert.ok(Math.abs(Date.parse(validTo) - now - 30 * DAY_MS) < 60_000);
});

test('no two authorities have a name, number or key in common', async () => {
  const [one, other] = await Promise.all([1, 2].map(async () => createWebhookCertificates(['w'], 1)));
  const [first, second] = [one, other].map((made) => new X509Certificate(made?.ca ?? ''));
  assert.notEqual(first?.subject, second?.subject);
  assert.notEqual(first?.serialNumber, second?.serialNumber);
  assert.ok(!new X509Certificate(one?.cert ?? '').verify((second as X509Certificate).publicKey));
});
