import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import type { Config } from '../../../src/config/config.ts';
import { expiringCredentials } from '../../../src/observability/expiring-credentials.ts';
import { createTokenService, readExpiries } from '../../../src/tokens/token-service.ts';
import { createDispatchers } from '../../../src/transport/dispatchers.ts';
import { configOf } from '../../harness/app.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { folderOf, jwtOf, NO_OBSERVER } from './sample.ts';

function start(t: TestContext, config: Config, onExpiry: (seconds: number) => void = () => {}) {
  const begun: string[] = [];
  const observer = {
    ...NO_OBSERVER,
    credentialRead: (_name: string, expirySeconds: number) => onExpiry(expirySeconds),
  };
  const dispatchers = createDispatchers(() => {});
  t.after(() => dispatchers.destroy());
  const serverBegun = (name: string) => void begun.push(name);
  return { service: createTokenService(config, { dispatchers, clock: systemClock, observer, serverBegun }), begun };
}

test('keeps the endpoint of a server for transmitters over a reload, even of one that removes it', async (t) => {
  const server = await startFakeAuthorizationServer(t);
  const routes = [{ name: 'r', match: { path: '/r' }, upstream: 'https://mcp.example.com', credential: 'none' }];
  const file = folderOf(t).write('secret', 'a secret');
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
  const { write } = folderOf(t);
  const file = write('actor', jwtOf({ exp: 1_900_000_000 }));
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
  write('actor', jwtOf({ exp: 1_950_000_000 }));
  service.sweep();
  await eventually('the next expiry is read', () => expiries.length === 2);
  assert.deepEqual(expiries, [1_900_000_000, 1_950_000_000]);
});

const EXPIRY = 1_900_000_000;

/** A config with a credential of every kind, and a function that writes their files. */
function setUp(t: TestContext) {
  const { path, write } = folderOf(t);
  const file = (name: string) => ({ file: join(path, name) });
  const tls = { certificate: file('cert.pem'), private_key: file('key.pem') };
  const server = { token_endpoint: 'https://idp.example.com/token', client_id: 'c' };
  const config = configOf({
    authorization_servers: {
      signed: {
        ...server,
        client_auth: { method: 'private_key_jwt', private_key: file('key.pem'), certificate: file('cert.pem') },
      },
      asserted: { ...server, client_auth: { method: 'client_assertion', client_assertion: file('jwt') } },
      mutual: { ...server, client_auth: { method: 'tls_client_auth' }, tls },
    },
    routes: ['signed', 'asserted', 'mutual'].map((name) => ({
      name,
      match: { path: `/${name}` },
      upstream: 'https://mcp.example.com/mcp',
      authorization_server: name,
      ...(name === 'signed' && { actor_token: { ...file('jwt'), type: 'jwt' }, tls }),
      ...(name === 'asserted' && { subject_token: file('opaque') }),
    })),
  });
  const read = async () => {
    const expiries: [string, number][] = [];
    await readExpiries(config, (name, seconds) => void expiries.push([name, seconds]));
    return expiries.sort();
  };
  return { config, write, read };
}

test('reports every credential that states its expiry, by its name in messages', async (t) => {
  const { config, write, read } = setUp(t);
  write('jwt', `${jwtOf({ exp: EXPIRY })}\n`);
  write('opaque', 'an-opaque-token');
  write('cert.pem', createCertificateAuthority().issueClient().cert);
  const expiries = await read();
  const names = expiries.map(([name]) => name);
  assert.deepEqual(names, [
    'actor token of route "signed"',
    'authorization server "mutual"',
    'client assertion of authorization server "asserted"',
    'client certificate of authorization server "signed"',
    'route "signed"',
  ]);
  for (const [name, seconds] of expiries) {
    assert.ok(/actor|assertion/.test(name) ? seconds === EXPIRY : seconds > Date.now() / 1000, name);
  }
  const mayExpire = expiringCredentials(config).map(({ name }) => name);
  assert.deepEqual(mayExpire.sort(), [...names, 'subject token of route "asserted"']);
});

test('ignores credentials that are missing or malformed', async (t) => {
  const { write, read } = setUp(t);
  write('cert.pem', 'not a certificate');
  assert.deepEqual(await read(), []);
});
