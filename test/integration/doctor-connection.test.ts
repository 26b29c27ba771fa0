import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Certificate, createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { publicServer, route, runDoctor } from './doctor-run.ts';

const AUTHORITY = createCertificateAuthority('Example Corp CA');

/** A server with this certificate, and what the doctor finds on it. */
async function consultServer(t: TestContext, certificate: Certificate, trust: 'the CA' | 'well-known CAs') {
  const server = await startFakeAuthorizationServer({ tls: certificate });
  t.after(server.close);
  const folder = await mkdtemp(join(tmpdir(), 'cambist-doctor-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'ca.pem'), AUTHORITY.cert);
  const tls = trust === 'the CA' ? { tls: { ca: { file: join(folder, 'ca.pem') } } } : {};
  const main = publicServer(server.issuer, tls);
  return runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
}

test('a certificate of a private CA: who issued it, and where to name the CA', async (t) => {
  const { problems, finding } = await consultServer(t, AUTHORITY.issueServer(), 'well-known CAs');
  assert.deepEqual(problems, ['error certificate_untrusted', 'warning route_not_checked']);
  const { what, fix } = finding('certificate_untrusted');
  assert.match(what, /issued by "Example Corp CA"/);
  assert.match(fix ?? '', /authorization_servers\.main\.tls\.ca/);
});

test('a CA file that has another CA in it is named', async (t) => {
  const stranger = createCertificateAuthority('Stranger').issueServer();
  const { finding } = await consultServer(t, stranger, 'the CA');
  const { what, why } = finding('certificate_untrusted');
  assert.match(what, /issued by "Stranger"/);
  assert.match(why ?? '', /ca\.pem/);
});

test('a certificate for another name: both names', async (t) => {
  const { finding } = await consultServer(t, AUTHORITY.issueServer({ hosts: ['idp.internal'] }), 'the CA');
  assert.match(finding('certificate_wrong_name').what, /not for localhost, but for "DNS:idp\.internal"/);
});

test('an expired certificate: since when', async (t) => {
  const expired = AUTHORITY.issueServer({ validFromSeconds: -7200, validUntilSeconds: -3600 });
  const { finding } = await consultServer(t, expired, 'the CA');
  assert.match(finding('certificate_expired').what, /expired on .* GMT/);
});

test('a trusted certificate is no word', async (t) => {
  const { findings, problems } = await consultServer(t, AUTHORITY.issueServer(), 'the CA');
  assert.equal(findings[0]?.code, 'metadata_found');
  assert.ok(!problems.some((problem) => problem.includes('certificate')));
});

test('a CA file that is not there is named, and nothing is sent', async (t) => {
  const server = await startFakeAuthorizationServer({ tls: AUTHORITY.issueServer() });
  t.after(server.close);
  const main = publicServer(server.issuer, { tls: { ca: { file: '/nowhere/ca.pem' } } });
  const { finding } = await runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
  assert.match(finding('credential_unavailable').what, /\/nowhere\/ca\.pem/);
  assert.deepEqual(server.metadataRequests, []);
});

test('a port without a server, and one with a server that says nothing', async (t) => {
  const server = await startFakeAuthorizationServer();
  await server.close();
  const gone = await runDoctor(t, {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github')],
  });
  assert.equal(gone.problems[0], 'error connection_refused');
  const silent = await startFakeAuthorizationServer();
  t.after(silent.close);
  silent.metadataMood = { kind: 'hang' };
  const main = publicServer(silent.issuer, { timeout: '200ms' });
  const hung = await runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
  assert.equal(hung.problems[0], 'error connection_timeout');
});

test('https to a server that speaks plain http', async (t) => {
  const server = await startFakeAuthorizationServer();
  t.after(server.close);
  const main = publicServer(server.issuer.replace('http:', 'https:'));
  const { problems } = await runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
  assert.equal(problems[0], 'error tls_failed');
});
