import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { jwtVerify } from 'jose';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { type FakeSetup, startFakeSetup } from '../harness/fake-setup.ts';
import { type FakeUpstream, startFakeUpstream } from '../harness/fake-upstream.ts';
import { echo } from '../harness/upstream-handlers.ts';

/** Makes cambist exchange a token. @returns the token request */
async function exchange(setup: FakeSetup) {
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  const request = setup.authorizationServer.requests.at(-1);
  assert.ok(request);
  return request;
}

function replace(setup: FakeSetup, file: string, content: string): Promise<void> {
  return writeFile(join(setup.cambist.directory, file), content);
}

function newKey(): { pem: string; publicKey: KeyObject } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), publicKey };
}

test('uses a rotated client secret from the next exchange on', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const basic = (secret: string) => `Basic ${Buffer.from(`cambist:${secret}`).toString('base64')}`;
  assert.equal((await exchange(setup)).headers.authorization, basic(setup.clientSecret));
  await replace(setup, 'client-secret', 'rotated-secret-2\n');
  assert.equal((await exchange(setup)).headers.authorization, basic('rotated-secret-2'));
});

test('signs the next assertion with a rotated private key', async (t) => {
  const [first, second] = [newKey(), newKey()];
  const setup = await startFakeSetup({
    files: { key: first.pem },
    change: (config) => ({
      ...config,
      authorization_servers: {
        local: {
          ...config.authorization_servers.local,
          client_auth: { method: 'private_key_jwt', private_key: { file: 'key' } },
        },
      },
    }),
  });
  t.after(setup.close);
  const { issuer } = setup.authorizationServer;
  for (const { pem, publicKey } of [first, second]) {
    await replace(setup, 'key', pem);
    const { form } = await exchange(setup);
    const expected = { issuer: 'cambist', subject: 'cambist', audience: issuer };
    await jwtVerify(form.get('client_assertion') ?? '', publicKey, expected);
  }
});

test('sends a rotated actor token with the next exchange', async (t) => {
  const setup = await startFakeSetup({
    files: { actor: 'actor-token-1' },
    change: (config) => ({
      ...config,
      routes: config.routes.map((route) => ({ ...route, actor_token: { file: 'actor' } })),
    }),
  });
  t.after(setup.close);
  for (const token of ['actor-token-1', 'actor-token-2']) {
    await replace(setup, 'actor', token);
    const { form } = await exchange(setup);
    assert.equal(form.get('actor_token'), token);
    assert.equal(form.get('actor_token_type'), 'urn:ietf:params:oauth:token-type:jwt');
  }
});

test('trusts a rotated CA once the CA file contains it', async (t) => {
  const [first, second] = [createCertificateAuthority('one'), createCertificateAuthority('two')];
  let upstream = await startFakeUpstream(echo, { tls: first.issueServer() });
  t.after(() => upstream.close());
  const setup = await startFakeSetup({
    files: { 'ca.pem': first.cert },
    change: (config) => ({
      ...config,
      routes: config.routes.map((route) => ({ ...route, upstream: upstream.url, tls: { ca: { file: 'ca.pem' } } })),
    }),
  });
  t.after(setup.close);
  const headers = await setup.bearer();
  assert.equal((await setup.call({ headers })).status, 200);

  const { port } = upstream;
  await upstream.close();
  upstream = await startFakeUpstream(echo, { tls: second.issueServer(), port });
  assert.match((await setup.call({ headers })).text, /ERR_UPSTREAM_TLS/);
  await replace(setup, 'ca.pem', second.cert);
  await eventually('the new CA is trusted', async () => (await setup.call({ headers })).status === 200);
  assert.equal(setup.authorizationServer.requests.length, 1, 'the token stays cached');
});

test('presents a rotated client certificate from the next connection on', async (t) => {
  const authority = createCertificateAuthority();
  const [first, second] = ['client one', 'client two'].map((commonName) => authority.issueClient({ commonName }));
  assert.ok(first && second);
  const upstream: FakeUpstream = await startFakeUpstream(
    (request, response) => {
      const { subject } = (request.message.socket as TLSSocket).getPeerCertificate();
      response.end(subject?.CN ?? 'no certificate');
    },
    { tls: { ...authority.issueServer(), clientCa: authority.cert } },
  );
  t.after(upstream.close);
  const setup = await startFakeSetup({
    files: { 'ca.pem': authority.cert, 'cert.pem': first.cert, 'key.pem': first.key },
    change: (config) => ({
      ...config,
      routes: config.routes.map((route) => ({
        ...route,
        upstream: upstream.url,
        tls: { ca: { file: 'ca.pem' }, certificate: { file: 'cert.pem' }, private_key: { file: 'key.pem' } },
      })),
    }),
  });
  t.after(setup.close);
  const headers = await setup.bearer();
  assert.equal((await setup.call({ headers })).text, 'client one');
  await replace(setup, 'key.pem', second.key);
  await replace(setup, 'cert.pem', second.cert);
  await eventually(
    'the new certificate is presented',
    async () => (await setup.call({ headers })).text === 'client two',
  );
});
