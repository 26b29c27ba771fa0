/** The servers of a shared cache that `RARE` has no place for. */
export const SHARED = [
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
export const RARE = {
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

export const WITH_SIGNALS = {
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
