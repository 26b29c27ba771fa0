import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { echo } from '../harness/upstream-handlers.ts';

const authority = createCertificateAuthority();

/** An authorization server with two listeners: an open one, and one for token requests that requires a certificate. */
async function start(t: TestContext, client = authority.issueClient({ commonName: 'cambist' })) {
  const folder = temporaryFolder(t);
  const write = (name: string, pem: string) => {
    writeFileSync(join(folder, name), pem);
    return { file: join(folder, name) };
  };
  const server = authority.issueServer();
  const open = await startFakeAuthorizationServer({ tls: server });
  const guarded = await startFakeAuthorizationServer({ tls: { ...server, clientCa: authority.cert } });
  const upstream = await startFakeUpstream(echo);
  t.after(async () => {
    await open.close();
    await guarded.close();
    await upstream.close();
  });
  open.metadataBehaviour = {
    kind: 'document',
    fields: { mtls_endpoint_aliases: { token_endpoint: guarded.tokenEndpoint } },
  };
  const app = await startTestApp(t, {
    authorization_servers: {
      local: {
        issuer: open.issuer,
        client_id: 'cambist',
        client_auth: { method: 'tls_client_auth' },
        tls: {
          ca: write('ca.pem', authority.cert),
          certificate: write('tls.crt', client.cert),
          private_key: write('tls.key', client.key),
        },
      },
    },
    routes: [{ name: 'github', match: { path: '/github' }, upstream: `${upstream.url}/mcp` }],
  });
  const send = async () =>
    call(`${app.url}/github`, { headers: { authorization: `Bearer ${await open.mint()}` }, body: '{}' });
  return { app, open, guarded, upstream, write, send };
}

test('sends the token request to the mTLS endpoint, with client_id in the form', async (t) => {
  const { app, open, guarded, send } = await start(t);
  assert.equal((await send()).status, 200);
  assert.equal(open.requests.length, 0);
  const { form, headers } = guarded.requests[0] ?? { form: new URLSearchParams(), headers: {} };
  assert.equal(form.get('client_id'), 'cambist');
  assert.equal(headers.authorization, undefined);
  const expiry = sumSamples(await app.metrics(), 'cambist_credential_expiry_timestamp_seconds', {
    credential: 'authorization server "local"',
  });
  assert.ok(expiry > Date.now() / 1000);
});

test('returns ERR_STS_UNAVAILABLE when the server refuses the certificate', async (t) => {
  const { guarded, upstream, send } = await start(t, createCertificateAuthority('stranger').issueClient());
  assertProblem(await send(), 'ERR_STS_UNAVAILABLE');
  assert.equal(guarded.requests.length + upstream.requests.length, 0);
});

test('uses a renewed certificate for the next connection', async (t) => {
  const { app, guarded, write, send } = await start(t, createCertificateAuthority('stranger').issueClient());
  assertProblem(await send(), 'ERR_STS_UNAVAILABLE');
  const renewed = authority.issueClient();
  write('tls.crt', renewed.cert);
  write('tls.key', renewed.key);
  app.reopenFiles();
  assert.equal((await send()).status, 200);
  assert.equal(guarded.requests.length, 1);
});

test('presents to each server only its own certificate', async (t) => {
  const folder = temporaryFolder(t);
  const upstream = await startFakeUpstream(echo);
  t.after(upstream.close);
  const sides = await Promise.all(
    ['red', 'blue'].map(async (name) => {
      // This server refuses certificates of other authorities.
      const own = createCertificateAuthority(`authority of ${name}`);
      const client = own.issueClient({ commonName: `cambist at ${name}` });
      const server = await startFakeAuthorizationServer({ tls: { ...authority.issueServer(), clientCa: own.cert } });
      t.after(server.close);
      const write = (file: string, pem: string) => {
        writeFileSync(join(folder, `${name}-${file}`), pem);
        return { file: join(folder, `${name}-${file}`) };
      };
      const tls = {
        ca: write('ca.pem', authority.cert),
        certificate: write('tls.crt', client.cert),
        private_key: write('tls.key', client.key),
      };
      return { name, server, tls };
    }),
  );
  const app = await startTestApp(t, {
    authorization_servers: Object.fromEntries(
      sides.map(({ name, server, tls }) => [
        name,
        { issuer: server.issuer, client_id: name, client_auth: { method: 'tls_client_auth' }, tls },
      ]),
    ),
    routes: sides.map(({ name }) => ({
      name,
      match: { path: `/${name}` },
      upstream: `${upstream.url}/mcp`,
      authorization_server: name,
    })),
  });
  for (const { name, server } of sides) {
    const headers = { authorization: `Bearer ${await server.mint()}` };
    assert.equal((await call(`${app.url}/${name}`, { headers, body: '{}' })).status, 200);
    assert.deepEqual(
      server.requests.map(({ form }) => form.get('client_id')),
      [name],
    );
  }
});
