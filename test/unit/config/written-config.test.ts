import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { z } from 'zod';
import type { Config } from '../../../src/config/config.ts';
import { HIDDEN } from '../../../src/config/hide-keys.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/config/problem.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { writtenConfig } from '../../../src/config/written-config.ts';
import type { ShowSource } from '../../../src/config/written-values.ts';
import { FULL } from './mutations.ts';

const FOLDER = new URL('../../../config/', import.meta.url);
const examples = readdirSync(FOLDER).filter((file) => /\.yaml$|^cambist\.json$/.test(file));

/** The servers of a shared cache that `RARE` has no place for. */
const SHARED = [
  {
    sentinel: {
      name: 'main',
      hosts: ['a.example.com:26379', '[::1]:26379'],
      username: 'watcher',
      password: { file: '/watcher' },
    },
    allow_insecure_tcp: true,
  },
  { cluster: ['valkey-0.svc:6379', '127.0.0.1:6380'] },
].map((server) => ({
  version: 1,
  cache: { shared: { ...server, key: { file: '/shared-key' } } },
  routes: [{ name: 'a', match: { path: '/' }, upstream: 'http://a.svc', credential: 'none' }],
}));

/** Keys that neither an example nor FULL has. */
const RARE = {
  version: 1,
  listen: 'unix:/run/cambist.sock',
  admin: '[::1]:9180',
  socket_mode: '0600',
  admin_hosts: ['cambist.example.com'],
  log: { sample: 0.5 },
  audit: {
    to: { file: '/var/log/audit.jsonl' },
    claims: ['iss', 'sub'],
    tools: false,
    on_full: 'refuse',
    pseudonymize: { key: { file: '/audit-key' }, claims: ['sub'] },
  },
  tracing: { mcp: true },
  inbound: {
    listen: '0.0.0.0:8080',
    agent: 'unix:/run/agent.sock',
    verify: {
      issuer: 'https://idp.example.com',
      audience: 'agent',
      jwks_uri: 'https://idp.example.com/keys',
      introspection: { authorization_server: 'signed', endpoint: 'https://idp.example.com/introspect', cache: '5s' },
    },
    open: ['/healthz', '/public/*'],
    claims: { 'x-user-id': 'sub' },
    allow_raw_tokens: true,
    baggage: false,
    detached: 'allow',
  },
  interaction: { hosts: ['consent.example.com'] },
  intercept: {
    ca: { certificate: { file: '/ca.pem' }, private_key: { file: '/ca.key' } },
    trust_dir: '/trust',
    listen: ['127.0.0.1:15001'],
  },
  forward_proxy: { connect: ['api.example.com:443'] },
  cache: {
    shared: {
      url: 'rediss://valkey.example.com',
      username: 'cambist',
      password: { env: 'STORE_PASSWORD' },
      tls: { ca: { file: '/store-ca' }, certificate: { file: '/store-cert' }, private_key: { file: '/store-key' } },
      key: [{ file: '/shared-key' }, { file: '/old-shared-key' }],
      prefix: 'agents',
      timeout: '50ms',
    },
  },
  authorization_servers: {
    signed: {
      issuer: 'https://idp.example.com',
      client_id: 'cambist',
      client_auth: {
        method: 'private_key_jwt',
        private_key: { file: '/key' },
        alg: 'PS256',
        key_id: 'k',
        certificate: { file: '/cert' },
        assertion_audience: 'https://idp.example.com',
        assertion_lifetime: '1500ms',
      },
      dpop: true,
    },
    asserted: {
      issuer: 'http://second.example.com',
      client_auth: {
        method: 'client_assertion',
        client_assertion: { file: '/jwt' },
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe',
      },
      client_id: 'cambist',
      grant: 'jwt_bearer',
      allow_insecure_http: true,
    },
    hmac: {
      token_endpoint: 'https://hmac.example.com/token',
      client_id: 'cambist',
      client_auth: { method: 'client_secret_jwt', client_secret: { env: 'SECRET' }, alg: 'HS512' },
    },
    posted: {
      token_endpoint: 'https://posted.example.com/token',
      client_id: 'cambist',
      client_auth: { method: 'client_secret_post', client_secret: { env: 'SECRET' } },
    },
    mutual: {
      token_endpoint: 'https://mutual.example.com/token',
      client_id: 'cambist',
      client_auth: { method: 'tls_client_auth' },
      tls: { ca: { file: '/ca' }, certificate: { file: '/c' }, private_key: { file: '/k' } },
    },
    open: { token_endpoint: 'https://open.example.com/token', client_auth: { method: 'none' } },
  },
  defaults: { allow_insecure_http: true, timeouts: { connect: 0 } },
  routes: [
    {
      name: 'chained',
      match: { path: '/a' },
      upstream: 'https://a.example.com/mcp/',
      authorization_server: 'asserted',
      chain: { authorization_server: 'signed', assertion: 'jwt' },
      step_up: ['write'],
      consent_url: 'https://consent.example.com/start',
      allow_insecure_http: true,
      subject_token: {
        header: 'x-token',
        scope: 'read write',
        verify: {
          issuer: 'http://issuer.example.com',
          audience: ['one', 'two'],
          jwks_uri: 'http://issuer.example.com/keys',
          introspection: {
            authorization_server: 'signed',
            endpoint: 'https://idp.example.com/introspect',
            cache: '1m',
          },
        },
      },
    },
    {
      name: 'mine',
      match: { host: '*.tools.svc', path: '/b', methods: ['GET', 'POST'], mcp_method: 'tools/call', mcp_name: ['w_*'] },
      upstream: 'http://b.example.com',
      authorization_server: 'mutual',
      expect_audience: { only: 'b' },
      resource: [],
      audience: ['b'],
      subject_token: { file: '/subject' },
      http2: true,
    },
    {
      name: 'own',
      match: { host: 'own' },
      upstream: 'https://own.example.com',
      authorization_server: 'hmac',
      credential: 'client_credentials',
      expect_audience: 'any',
      retry_body_limit: 1000,
      tls: { ca: { file: '/ca' } },
    },
    {
      name: 'key',
      match: { host: 'key' },
      upstream: 'https://key.example.com',
      credential: 'secret',
      secret: { file: '/api-key' },
      send: { header: 'X-API-Key', scheme: 'Key' },
    },
    {
      name: 'page',
      match: { host: 'page' },
      upstream: 'https://page.example.com',
      credential: 'none',
      allowed_origins: ['https://app.example.com'],
    },
    {
      name: 'through',
      match: { host: 'through' },
      upstream: 'https://t.example.com',
      credential: 'passthrough',
    },
  ],
};

const WITH_SIGNALS = {
  version: 1,
  signals: {
    listen: '0.0.0.0:8190',
    remember: '12h',
    transmitters: {
      idp: {
        issuer: 'https://idp.example.com',
        audience: 'cambist',
        jwks_uri: 'https://idp.example.com/keys',
        delivery: 'push',
        authorization: { file: '/authorization' },
        backchannel_logout: true,
      },
      polled: {
        issuer: 'https://polled.example.com',
        audience: ['cambist', 'agents'],
        delivery: 'poll',
        authorization_server: 'polled',
        scope: 'ssf.read ssf.manage',
        poll_endpoint: 'https://polled.example.com/poll?tenant=1',
        poll_interval: '30s',
      },
    },
  },
  authorization_servers: {
    polled: {
      issuer: 'https://polled.example.com',
      client_id: 'cambist',
      client_auth: { method: 'client_secret_basic', client_secret: { file: '/secret' } },
    },
  },
  routes: [{ name: 'a', match: { path: '/' }, upstream: 'http://a.svc', credential: 'none' }],
};

const TEXTS: readonly (readonly [name: string, text: string])[] = [
  ...examples.map((file) => [file, readFileSync(new URL(file, FOLDER), 'utf8')] as const),
  ['a config with nearly every key', JSON.stringify(FULL)],
  ['a config with the other keys', JSON.stringify(RARE)],
  ['a config with signals', JSON.stringify(WITH_SIGNALS)],
  ...SHARED.map((config, index) => [`shared cache ${index + 1}`, JSON.stringify(config)] as const),
];

const showAll: ShowSource = (source) => ('file' in source ? source.file : source.env);

function load(text: string): Config {
  const { config, problems } = parseConfig(text, '/etc/cambist/cambist.yaml');
  assert.ok(config, problems.map(formatProblem).join('\n'));
  return config;
}

/** Values that a file cannot have after they were hidden. */
function withoutHidden(config: Config): unknown {
  return JSON.parse(
    JSON.stringify(config, (key, value) => {
      if (key === 'extraParams') return value.map(([name]: [string]) => [name, HIDDEN]);
      if (key === 'tokenEndpoint' || key === 'jwksUri' || key === 'pollEndpoint') return value?.replace(/\?.*/, '');
      return value;
    }),
  );
}

for (const [name, text] of TEXTS) {
  test(`loads as the same config: ${name}`, () => {
    const config = load(text);
    const written = JSON.stringify(writtenConfig(config, showAll)).replaceAll(`?${HIDDEN}`, '');
    assert.deepEqual(withoutHidden(load(written)), withoutHidden(config));
  });
}

/** Keys of a map that is one value. */
const SOURCES = new Set(['file', 'file env']);

/** The keys of a schema as paths. Entries of lists and maps are `*`. */
function keysOf(schema: unknown, path = ''): string[] {
  if (schema instanceof z.ZodOptional) return keysOf(schema.unwrap(), path);
  if (schema instanceof z.ZodArray) return keysOf(schema.element, `${path}.*`);
  if (schema instanceof z.ZodRecord) return keysOf(schema.valueType, `${path}.*`);
  if (!(schema instanceof z.ZodObject) || SOURCES.has(Object.keys(schema.shape).join(' '))) {
    return [path.replace(/(\.\*)+$/, '')];
  }
  return Object.entries(schema.shape).flatMap(([key, part]) => keysOf(part, path === '' ? key : `${path}.${key}`));
}

/** The paths of a value that are in the schema. */
function pathsOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [path];
  const entries = Array.isArray(value) ? value.map((part) => ['*', part] as const) : Object.entries(value);
  return [
    path,
    ...entries.flatMap(([key, part]) => {
      const isNamed = path === 'authorization_servers' || path === 'signals.transmitters';
      return pathsOf(part, path === '' ? key : `${path}.${isNamed ? '*' : key}`);
    }),
  ];
}

/** `defaults` are merged into the routes. */
const LEFT_OUT = /^(\$schema|defaults\..*)$/;

test('writes every key of the schema', () => {
  const written = new Set(TEXTS.flatMap(([, text]) => pathsOf(writtenConfig(load(text), showAll))));
  const missing = keysOf(configSchema).filter((path) => !LEFT_OUT.test(path) && !written.has(path));
  assert.deepEqual(missing, [], 'add the key to src/config/written-config.ts, and to this test or an example');
});

test('hides parameters, queries and parts of paths that could be a secret', () => {
  const secret = 's3cretPathSegment0123456789';
  const config = load(
    JSON.stringify({
      version: 1,
      authorization_servers: {
        main: {
          token_endpoint: `https://idp.example.com/${secret}/token?key=${secret}`,
          client_id: 'c',
          client_auth: { method: 'client_secret_basic', client_secret: { file: '/secret' } },
          extra_params: { api_key: secret },
        },
      },
      routes: [
        {
          name: 'a',
          match: { path: '/a' },
          upstream: `https://mcp.example.com/api/${secret}/mcp`,
          subject_token: {
            verify: {
              issuer: 'https://i.example.com',
              jwks_uri: `https://i.example.com/${secret}/k?a=${secret}`,
              introspection: { authorization_server: 'main', endpoint: `https://i.example.com/${secret}/i?${secret}` },
            },
          },
        },
      ],
    }),
  );
  const text = JSON.stringify(writtenConfig(config, showAll));
  assert.ok(!text.includes(secret), text);
  assert.match(text, /https:\/\/mcp\.example\.com\/api\/\[hidden\]\/mcp/);
  assert.match(text, /https:\/\/idp\.example\.com\/\[hidden\]\/token\?\[hidden\]/);
});
