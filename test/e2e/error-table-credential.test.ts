import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { provokeProblem } from '../harness/expected-problem.ts';
import {
  type FakeSetup,
  type FakeSetupOptions,
  SETUP_ROUTE,
  SETUP_SERVER,
  startFakeSetup,
} from '../harness/fake-setup.ts';

const UNAVAILABLE = { code: 'ERR_CREDENTIAL_UNAVAILABLE', failedExchanges: 1, tokenRequests: 0 } as const;

function clientAuth(clientAuth: Record<string, unknown>): NonNullable<FakeSetupOptions['change']> {
  return (config) => ({
    ...config,
    authorization_servers: {
      [SETUP_SERVER]: { ...config.authorization_servers[SETUP_SERVER], client_auth: clientAuth },
    },
  });
}

function routeKeys(keys: Record<string, unknown>): NonNullable<FakeSetupOptions['change']> {
  return (config) => ({ ...config, routes: config.routes.map((route) => ({ ...route, ...keys })) });
}

async function assertUnready(setup: FakeSetup, check: string) {
  const readiness = await fetch(`${setup.cambist.adminUrl}/readyz`);
  assert.equal(readiness.status, 503);
  const { checks } = (await readiness.json()) as { checks: Record<string, string> };
  assert.equal(checks[check], 'ERR_CREDENTIAL_UNAVAILABLE');
}

test('returns an error while the client secret file is missing or empty, serves other routes, and recovers', async (t) => {
  const setup = await startFakeSetup({
    change: (config, { upstream }) => ({
      ...config,
      routes: [
        ...config.routes,
        { name: 'open', match: { path: '/open' }, upstream: upstream.url, credential: 'none' },
      ],
    }),
  });
  t.after(setup.close);
  const headers = await setup.bearer();
  const file = join(setup.cambist.directory, 'client-secret');
  await rm(file);
  await provokeProblem(setup, { headers }, UNAVAILABLE);
  assert.equal((await setup.call({ path: '/open' })).status, 200);
  await writeFile(file, '\n');
  await provokeProblem(setup, { headers }, UNAVAILABLE);
  await writeFile(file, `${setup.clientSecret}\n`);
  assert.equal((await setup.call({ headers })).status, 200);
});

test('starts without its client secret file, and is not ready until the file exists', async (t) => {
  const method = 'client_secret_basic';
  const setup = await startFakeSetup({
    ready: false,
    change: clientAuth({ method, client_secret: { file: 'later' } }),
  });
  t.after(setup.close);
  await provokeProblem(setup, { headers: await setup.bearer() }, UNAVAILABLE);
  await assertUnready(setup, `authorization_servers.${SETUP_SERVER}`);
  await writeFile(join(setup.cambist.directory, 'later'), setup.clientSecret);
  await setup.cambist.ready();
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
});

test('returns an error for a malformed private key, and does not log its content', async (t) => {
  const key = '-----BEGIN PRIVATE KEY-----\nZm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4\n-----END PRIVATE KEY-----\n';
  const setup = await startFakeSetup({
    ready: false,
    files: { key },
    change: clientAuth({ method: 'private_key_jwt', private_key: { file: 'key' } }),
  });
  t.after(setup.close);
  setup.leaks.remember('Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4');
  await provokeProblem(setup, { headers: await setup.bearer() }, UNAVAILABLE);
  await assertUnready(setup, `authorization_servers.${SETUP_SERVER}`);
});

test('returns an error while the actor token is missing, without an exchange', async (t) => {
  const setup = await startFakeSetup({ ready: false, change: routeKeys({ actor_token: { file: 'actor' } }) });
  t.after(setup.close);
  await provokeProblem(setup, { headers: await setup.bearer() }, UNAVAILABLE);
  await assertUnready(setup, `routes.${SETUP_ROUTE}.actor_token`);
  await writeFile(join(setup.cambist.directory, 'actor'), await setup.subjectToken({ subject: 'cambist' }));
  await setup.cambist.ready();
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
});

test('returns an error if the CA file of an upstream is missing, and sends it nothing', async (t) => {
  const setup = await startFakeSetup({ ready: false, change: routeKeys({ tls: { ca: { file: 'ca.pem' } } }) });
  t.after(setup.close);
  const headers = await setup.bearer();
  await provokeProblem(setup, { headers }, { code: 'ERR_CREDENTIAL_UNAVAILABLE', tokenRequests: 1 });
  await assertUnready(setup, `routes.${SETUP_ROUTE}.tls`);
});
