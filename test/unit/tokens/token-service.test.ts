import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SignJWT } from 'jose';
import { systemClock } from '../../../src/clock/clock.ts';
import type { Config } from '../../../src/config/config.ts';
import type { TokenObserver } from '../../../src/observability/token-observer.ts';
import { createTokenService } from '../../../src/tokens/token-service.ts';
import { createDispatchers } from '../../../src/transport/dispatchers.ts';
import { configOf } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';

function jwt(expirySeconds: number): Promise<string> {
  return new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(expirySeconds).sign(new Uint8Array(32));
}

function start(t: TestContext, config: Config, onExpiry: (seconds: number) => void = () => {}) {
  const begun: string[] = [];
  const observer: TokenObserver = {
    cacheLookedUp: () => {},
    exchangeFinished: () => {},
    tokenEvicted: () => {},
    availabilityChanged: () => {},
    introspected: () => {},
    credentialRead: (_credential, expirySeconds) => onExpiry(expirySeconds),
  };
  const dispatchers = createDispatchers(() => {});
  t.after(() => dispatchers.destroy());
  const serverBegun = (name: string) => void begun.push(name);
  return { service: createTokenService(config, { dispatchers, clock: systemClock, observer, serverBegun }), begun };
}

test('keeps the endpoint of a server for transmitters over a reload, even of one that removes it', async (t) => {
  const server = await startFakeAuthorizationServer();
  t.after(server.close);
  const routes = [{ name: 'r', match: { path: '/r' }, upstream: 'https://mcp.example.com', credential: 'none' }];
  const folder = temporaryFolder(t);
  const file = join(folder, 'secret');
  writeFileSync(file, 'a secret');
  const client_auth = { method: 'client_secret_basic', client_secret: { file } };
  const idp = {
    issuer: 'https://idp.example.com',
    audience: 'c',
    delivery: 'poll',
    poll_endpoint: 'https://idp.example.com/poll',
    authorization_server: 'local',
  };
  const config = configOf({
    authorization_servers: { local: { token_endpoint: server.tokenEndpoint, client_id: 'c', client_auth } },
    signals: { transmitters: { idp } },
    routes,
  });
  const { service, begun } = start(t, config);
  const [local] = config.authorizationServers;
  assert.ok(local !== undefined);
  await service.ownTokens.obtain(local, undefined, '_signals');
  for (const next of [config, configOf({ routes })]) {
    service.serve(next);
    service.ownTokens.drop(local, undefined);
    await service.ownTokens.obtain(local, undefined, '_signals');
  }
  assert.equal(server.requests.length, 3);
  assert.deepEqual(begun, ['local']);
});

test('reads the expiry of a rotated credential at the next sweep', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'actor');
  writeFileSync(file, await jwt(1_900_000_000));
  const config = configOf({
    authorization_servers: {
      main: { token_endpoint: 'https://idp.example.com/token', client_id: 'c', client_auth: { method: 'none' } },
    },
    routes: [
      { name: 'r', match: { path: '/r' }, upstream: 'https://mcp.example.com', actor_token: { file, type: 'jwt' } },
    ],
  });
  const expiries: number[] = [];
  const { service } = start(t, config, (expirySeconds) => void expiries.push(expirySeconds));
  service.serve(config);
  await eventually('the first expiry is read', () => expiries.length === 1);
  writeFileSync(file, await jwt(1_950_000_000));
  service.sweep();
  await eventually('the next expiry is read', () => expiries.length === 2);
  assert.deepEqual(expiries, [1_900_000_000, 1_950_000_000]);
});
