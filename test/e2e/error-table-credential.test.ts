import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { provokeProblem } from '../harness/expected-problem.ts';
import { SCENE_ROUTE, SCENE_SERVER, type Scene, type SceneOptions, startScene } from '../harness/scene.ts';

const UNAVAILABLE = { code: 'ERR_CREDENTIAL_UNAVAILABLE', failedExchanges: 1, tokenRequests: 0 } as const;

function clientAuth(clientAuth: Record<string, unknown>): NonNullable<SceneOptions['change']> {
  return (config) => ({
    ...config,
    authorization_servers: {
      [SCENE_SERVER]: { ...config.authorization_servers[SCENE_SERVER], client_auth: clientAuth },
    },
  });
}

function routeKeys(keys: Record<string, unknown>): NonNullable<SceneOptions['change']> {
  return (config) => ({ ...config, routes: config.routes.map((route) => ({ ...route, ...keys })) });
}

async function assertUnready(scene: Scene, check: string) {
  const readiness = await fetch(`${scene.cambist.adminUrl}/readyz`);
  assert.equal(readiness.status, 503);
  const { checks } = (await readiness.json()) as { checks: Record<string, string> };
  assert.equal(checks[check], 'ERR_CREDENTIAL_UNAVAILABLE');
}

test('returns an error while the client secret file is missing or empty, and recovers', async (t) => {
  const scene = await startScene();
  t.after(scene.close);
  const headers = await scene.bearer();
  const file = join(scene.cambist.directory, 'client-secret');
  await rm(file);
  await provokeProblem(scene, { headers }, UNAVAILABLE);
  await writeFile(file, '\n');
  await provokeProblem(scene, { headers }, UNAVAILABLE);
  await writeFile(file, `${scene.clientSecret}\n`);
  assert.equal((await scene.call({ headers })).status, 200);
});

test('starts without its client secret file, and is not ready until the file exists', async (t) => {
  const method = 'client_secret_basic';
  const scene = await startScene({ ready: false, change: clientAuth({ method, client_secret: { file: 'later' } }) });
  t.after(scene.close);
  await provokeProblem(scene, { headers: await scene.bearer() }, UNAVAILABLE);
  await assertUnready(scene, `authorization_servers.${SCENE_SERVER}`);
  await writeFile(join(scene.cambist.directory, 'later'), scene.clientSecret);
  await scene.cambist.ready();
  assert.equal((await scene.call({ headers: await scene.bearer() })).status, 200);
});

test('returns an error for a malformed private key, and does not log its content', async (t) => {
  const key = '-----BEGIN PRIVATE KEY-----\nZm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4\n-----END PRIVATE KEY-----\n';
  const scene = await startScene({
    ready: false,
    files: { key },
    change: clientAuth({ method: 'private_key_jwt', private_key: { file: 'key' } }),
  });
  t.after(scene.close);
  scene.leaks.remember('Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4');
  await provokeProblem(scene, { headers: await scene.bearer() }, UNAVAILABLE);
  await assertUnready(scene, `authorization_servers.${SCENE_SERVER}`);
});

test('returns an error while the actor token is missing, without an exchange', async (t) => {
  const scene = await startScene({ ready: false, change: routeKeys({ actor_token: { file: 'actor' } }) });
  t.after(scene.close);
  await provokeProblem(scene, { headers: await scene.bearer() }, UNAVAILABLE);
  await assertUnready(scene, `routes.${SCENE_ROUTE}.actor_token`);
  await writeFile(join(scene.cambist.directory, 'actor'), await scene.subjectToken({ subject: 'cambist' }));
  await scene.cambist.ready();
  assert.equal((await scene.call({ headers: await scene.bearer() })).status, 200);
});

test('returns an error if the CA file of an upstream is missing, and sends it nothing', async (t) => {
  const scene = await startScene({ ready: false, change: routeKeys({ tls: { ca: { file: 'ca.pem' } } }) });
  t.after(scene.close);
  const headers = await scene.bearer();
  await provokeProblem(scene, { headers }, { code: 'ERR_CREDENTIAL_UNAVAILABLE', tokenRequests: 1 });
  await assertUnready(scene, `routes.${SCENE_ROUTE}.tls`);
});
