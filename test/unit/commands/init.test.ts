import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ConfigChoices, newConfig, SECRET_IN_POD } from '../../../src/commands/init.ts';
import { parseConfig } from '../../../src/config/load.ts';

const CHOICES: ConfigChoices = {
  route: 'mine',
  backend: 'https://mcp.example.com/mcp',
  issuer: 'https://idp.example.com/realms/agents',
  clientId: 'cambist',
  audience: undefined,
  scope: undefined,
  secret: { env: 'CAMBIST_CLIENT_SECRET' },
  pod: false,
};

const configOf = (choices: Partial<ConfigChoices>) => {
  const { config, problems } = parseConfig(newConfig({ ...CHOICES, ...choices }), 'cambist.yaml');
  assert.deepEqual(problems, []);
  assert.ok(config !== undefined);
  return config;
};

test('writes a valid config with what was chosen', () => {
  const { listen, admin, routes, authorizationServers } = configOf({ audience: 'mcp', scope: 'read write' });
  assert.deepEqual(
    [listen, admin].map((one) => one.kind === 'tcp' && `${one.host}:${one.port}`),
    ['127.0.0.1:8180', '127.0.0.1:9180'],
  );
  const [server] = authorizationServers;
  assert.deepEqual([server?.issuer, server?.clientId], [CHOICES.issuer, 'cambist']);
  const [route] = routes;
  assert.deepEqual([route?.name, route?.match.path], ['mine', '/mine']);
  const target = route?.credential.kind === 'exchange' ? route.credential.target : undefined;
  assert.deepEqual([target?.audience, target?.scope], [['mcp'], 'read write']);
});

test('for a pod, opens the admin port for probes and takes the secret from a file', () => {
  const { admin, limits, authorizationServers } = configOf({ pod: true, secret: { file: SECRET_IN_POD } });
  assert.equal(admin.kind === 'tcp' && admin.host, '0.0.0.0');
  assert.equal(limits.maxInFlight, 1000);
  const [server] = authorizationServers;
  assert.ok(server?.clientAuth.method === 'client_secret_basic');
  assert.deepEqual(server.clientAuth.clientSecret, { file: SECRET_IN_POD });
});

test('quotes values so that none adds a key or a line', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'binary' }), fc.string(), (audience, file) => {
      const { config, problems } = parseConfig(newConfig({ ...CHOICES, audience, secret: { file } }), 'cambist.yaml');
      for (const { path } of problems) assert.match(path, /^routes\[0\]\.audience|client_secret/);
      const credential = config?.routes[0]?.credential;
      if (credential?.kind === 'exchange') assert.deepEqual(credential.target.audience, [audience]);
    }),
  );
});
