import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type FakeSetup, SETUP_ROUTE, SETUP_SERVER, type SetupCall, startFakeSetup } from '../harness/fake-setup.ts';
import { assertProblem } from '../harness/http-call.ts';
import { freePort } from '../harness/http-server.ts';

test('refuses callers, and is not ready, before it has read which tokens are revoked', async (t) => {
  const port = await freePort();
  const setup = await startFakeSetup(t, {
    ready: false,
    files: { key: 'the key that all replicas of this test share' },
    change: (config, { authorizationServer, directory }) => ({
      ...config,
      cache: { shared: { url: `redis://127.0.0.1:${port}`, key: { file: `${directory}/key` } } },
      signals: {
        listen: '127.0.0.1:0',
        transmitters: { idp: { issuer: authorizationServer.issuer, audience: 'cambist', backchannel_logout: true } },
      },
    }),
  });
  assertProblem(await setup.call({ headers: await setup.bearer() }), 'ERR_REVOCATIONS_UNKNOWN');
  await setup.cambist.waitForLog(
    ({ msg, check, error }) => msg === 'not ready' && check === 'cache.shared' && error === 'ERR_REVOCATIONS_UNKNOWN',
  );
  assert.equal((await unready(setup))['cache.shared'], 'ERR_REVOCATIONS_UNKNOWN');
  const status = (await (await fetch(`${setup.cambist.adminUrl}/status.json`)).json()) as {
    missing: { check: string; cause: string; fix: string }[];
    signals: { replicas: unknown };
  };
  const missing = status.missing.find(({ check }) => check === 'cache.shared');
  assert.match(missing?.cause ?? '', /which tokens are revoked: (?:unreachable|no response)/);
  assert.match(missing?.fix ?? '', /start the server/);
  assert.deepEqual(status.signals.replicas, { unshared: 0, in_sync: false, full: false });
});

/** @returns the failed readiness checks, with their errors */
async function unready({ cambist }: FakeSetup): Promise<Record<string, string>> {
  const readiness = await fetch(`${cambist.adminUrl}/readyz`);
  assert.equal(readiness.status, 503);
  const { checks } = (await readiness.json()) as { checks: Record<string, string> };
  return Object.fromEntries(Object.entries(checks).filter(([, state]) => state !== 'ready'));
}

test('starts without its credentials, is not ready until they exist, and serves other routes meanwhile', async (t) => {
  const content = 'Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4';
  const setup = await startFakeSetup(t, {
    ready: false,
    files: { key: `-----BEGIN PRIVATE KEY-----\n${content}\n-----END PRIVATE KEY-----\n` },
    change: (config, { upstream }) => ({
      ...config,
      authorization_servers: {
        ...config.authorization_servers,
        signed: {
          ...config.authorization_servers[SETUP_SERVER],
          client_auth: { method: 'private_key_jwt', private_key: { file: 'key' } },
        },
      },
      routes: [
        ...config.routes.map((route) => ({
          ...route,
          authorization_server: SETUP_SERVER,
          actor_token: { file: 'actor' },
          tls: { ca: { file: 'ca.pem' } },
        })),
        { name: 'signed', match: { path: '/signed' }, upstream: `${upstream.url}/mcp`, authorization_server: 'signed' },
        { name: 'open', match: { path: '/open' }, upstream: upstream.url, credential: 'none' },
      ],
    }),
  });
  setup.leaks.remember(content);
  const { requests } = setup.authorizationServer;
  const write = (name: string, text: string) => writeFile(join(setup.cambist.directory, name), text);
  const refused = async (call: SetupCall) => assertProblem(await setup.call(call), 'ERR_CREDENTIAL_UNAVAILABLE');
  const headers = await setup.bearer();
  await refused({ headers });
  await refused({ path: '/signed', headers });
  assert.deepEqual(requests, []);
  const tools = `routes.${SETUP_ROUTE}`;
  assert.deepEqual(await unready(setup), {
    'authorization_servers.signed': 'ERR_CREDENTIAL_UNAVAILABLE',
    [`${tools}.actor_token`]: 'ERR_CREDENTIAL_UNAVAILABLE',
    [`${tools}.tls`]: 'ERR_CREDENTIAL_UNAVAILABLE',
  });
  assert.equal((await setup.call({ path: '/open' })).status, 200);

  await write('actor', await setup.subjectToken({ subject: 'cambist' }));
  await refused({ headers });
  assert.equal(requests.length, 1);
  await write('ca.pem', createCertificateAuthority().cert);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await write('key', privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
  await setup.cambist.ready();
  assert.equal((await setup.call({ headers })).status, 200);
  setup.leaks.assertNoLeak({ stdout: setup.cambist.stdout(), stderr: setup.cambist.stderr() });

  const other = { headers: await setup.bearer() };
  await rm(join(setup.cambist.directory, 'client-secret'));
  await refused(other);
  await write('client-secret', '\n');
  await refused(other);
  assert.equal(requests.length, 1);
  await write('client-secret', `${setup.clientSecret}\n`);
  assert.equal((await setup.call(other)).status, 200);
});

test('sends nothing to an authorization server whose certificate is untrusted', async (t) => {
  const server = await startFakeAuthorizationServer(t, { tls: createCertificateAuthority().issueServer() });
  const setup = await startFakeSetup(t, {
    ready: false,
    change: (config) => ({
      ...config,
      authorization_servers: {
        [SETUP_SERVER]: { ...config.authorization_servers[SETUP_SERVER], issuer: server.issuer },
      },
    }),
  });
  assertProblem(await setup.call({ headers: await setup.bearer() }), 'ERR_STS_UNAVAILABLE');
  assert.deepEqual(server.requests, []);
});
