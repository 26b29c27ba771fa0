import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SignJWT } from 'jose';
import { systemClock } from '../../../src/clock/clock.ts';
import type { TokenObserver } from '../../../src/observability/token-observer.ts';
import { createTokenService } from '../../../src/tokens/token-service.ts';
import { createDispatchers } from '../../../src/transport/dispatchers.ts';
import { configOf } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';

function jwt(expirySeconds: number): Promise<string> {
  return new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(expirySeconds).sign(new Uint8Array(32));
}

test('reads the expiry of a rotated credential at the next sweep', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-tokens-'));
  t.after(() => rmSync(folder, { recursive: true }));
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
  const observer: TokenObserver = {
    cacheLookedUp: () => {},
    exchangeFinished: () => {},
    tokenEvicted: () => {},
    availabilityChanged: () => {},
    introspected: () => {},
    credentialRead: (_credential, expirySeconds) => void expiries.push(expirySeconds),
  };
  const dispatchers = createDispatchers(() => {});
  t.after(() => dispatchers.destroy());
  const service = createTokenService(config, { dispatchers, clock: systemClock, observer, serverBegun: () => {} });
  service.serve(config);
  await eventually('the first expiry is read', () => expiries.length === 1);
  writeFileSync(file, await jwt(1_950_000_000));
  service.sweep();
  await eventually('the next expiry is read', () => expiries.length === 2);
  assert.deepEqual(expiries, [1_900_000_000, 1_950_000_000]);
});
