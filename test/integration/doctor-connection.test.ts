import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Certificate, createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { publicServer, route, runDoctor } from './doctor-run.ts';

const AUTHORITY = createCertificateAuthority('Example Corp CA');

/** Runs the doctor on a server with this certificate. */
async function runOnServer(t: TestContext, certificate: Certificate, trust: 'the CA' | 'well-known CAs') {
  const server = await startFakeAuthorizationServer({ tls: certificate });
  t.after(server.close);
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'ca.pem'), AUTHORITY.cert);
  const tls = trust === 'the CA' ? { tls: { ca: { file: join(folder, 'ca.pem') } } } : {};
  const main = publicServer(server.issuer, tls);
  return runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
}

test('names the issuer of an untrusted certificate, and the setting for its CA', async (t) => {
  const { problems, finding } = await runOnServer(t, AUTHORITY.issueServer(), 'well-known CAs');
  assert.deepEqual(problems, ['error certificate_untrusted', 'warning route_not_checked']);
  const { what, fix } = finding('certificate_untrusted');
  assert.match(what, /issued by "Example Corp CA"/);
  assert.match(fix ?? '', /authorization_servers\.main\.tls\.ca/);
});

test('names the CA file if it contains another CA', async (t) => {
  const stranger = createCertificateAuthority('Stranger').issueServer();
  const { finding } = await runOnServer(t, stranger, 'the CA');
  const { what, why } = finding('certificate_untrusted');
  assert.match(what, /issued by "Stranger"/);
  assert.match(why ?? '', /ca\.pem/);
});

test('reports nothing about a trusted certificate', async (t) => {
  const { findings, problems } = await runOnServer(t, AUTHORITY.issueServer(), 'the CA');
  assert.equal(findings[0]?.code, 'metadata_found');
  assert.ok(!problems.some((problem) => problem.includes('certificate')));
});

test('names a missing CA file and sends nothing', async (t) => {
  const server = await startFakeAuthorizationServer({ tls: AUTHORITY.issueServer() });
  t.after(server.close);
  const main = publicServer(server.issuer, { tls: { ca: { file: '/nowhere/ca.pem' } } });
  const { finding } = await runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
  assert.match(finding('credential_unavailable').what, /\/nowhere\/ca\.pem/);
  assert.deepEqual(server.metadataRequests, []);
});

test('reports a server without a response', async (t) => {
  const silent = await startFakeAuthorizationServer();
  t.after(silent.close);
  silent.metadataBehaviour = { kind: 'hang' };
  const main = publicServer(silent.issuer, { timeout: '200ms' });
  const hung = await runDoctor(t, { authorization_servers: { main }, routes: [route('github')] });
  assert.equal(hung.problems[0], 'error connection_timeout');
});
