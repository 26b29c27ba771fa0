export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonPath = readonly (string | number)[];

/** A valid config with nearly every key, for tests to change. */
export const FULL: Json = {
  version: 1,
  listen: '127.0.0.1:8180',
  admin: 'unix:/run/admin.sock',
  log: { level: 'debug' },
  host_header: 'x-kagent-host',
  authorization_servers: {
    one: {
      issuer: 'https://idp.example.com/realms/a',
      client_id: 'cambist',
      client_auth: { method: 'client_secret_basic', client_secret: { file: '/s' }, basic_encoding: 'raw' },
      grant: 'token_exchange',
      extra_params: { tenant: 'a' },
      timeout: '3s',
      tls: { ca: { file: '/ca' }, certificate: { file: '/c' }, private_key: { file: '/k' } },
      dpop: false,
      allow_insecure_http: false,
    },
    two: {
      token_endpoint: 'http://idp.svc/token?x=1',
      client_id: 'cambist',
      client_auth: {
        method: 'private_key_jwt',
        private_key: { env: 'KEY' },
        alg: 'ES256',
        key_id: 'k1',
        assertion_audience: 'https://idp.example.com',
        assertion_lifetime: '30s',
      },
    },
  },
  session: { header: 'mcp-session-id' },
  cache: { max_entries: 100, max_age: '1m' },
  limits: {
    max_in_flight: 10,
    max_in_flight_per_upstream: 5,
    max_connections: 20,
    max_header_size: '16KiB',
    shutdown_grace: '5s',
  },
  defaults: {
    authorization_server: 'one',
    subject_token: { header: 'authorization', type: 'access_token' },
    actor_token: { file: '/a', type: 'jwt' },
    timeouts: { connect: '1s', response_headers: 0, stall: '30s' },
  },
  routes: [
    {
      name: 'github',
      match: { host: '*.tools.svc', path: '/mcp' },
      upstream: 'https://github-mcp.example.com/mcp',
      credential: 'exchange',
      authorization_server: 'two',
      resource: ['https://github-mcp.example.com/mcp'],
      audience: 'github',
      scope: 'a b',
      requested_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      expect_audience: ['github'],
      on_missing_subject: 'client_credentials',
      retry_body_limit: 1024,
      tls: { ca: { file: '/ca' } },
      allow_insecure_http: true,
    },
    { name: 'own', match: { path: '/own' }, upstream: 'http://own:8080', credential: 'client_credentials' },
    { name: 'docs', match: { host: 'docs' }, upstream: 'http://docs:8080', credential: 'none' },
  ],
};

/** The paths of all parts of a value, but not of the whole. */
export function pathsOf(value: Json): JsonPath[] {
  if (typeof value !== 'object' || value === null) return [];
  const entries: [string | number, Json][] = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return entries.flatMap(([key, part]) => [[key], ...pathsOf(part).map((path) => [key, ...path])]);
}

/** The value with another part at a path. Undefined removes the part. */
export function replaceAt(value: Json, path: JsonPath, part: Json | undefined): Json | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return part;
  if (Array.isArray(value)) {
    return value.flatMap((entry, index) => {
      if (index !== key) return [entry];
      const replaced = replaceAt(entry, rest, part);
      return replaced === undefined ? [] : [replaced];
    });
  }
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).flatMap<[string, Json]>(([name, entry]) => {
    if (name !== key) return [[name, entry]];
    const replaced = replaceAt(entry, rest, part);
    return replaced === undefined ? [] : [[name, replaced]];
  });
  return Object.fromEntries(entries);
}

/** The same value with the keys of each map in another order. */
export function shuffleKeys(value: Json, numbers: Iterator<number>): Json {
  if (Array.isArray(value)) return value.map((part) => shuffleKeys(part, numbers));
  if (typeof value !== 'object' || value === null) return value;
  const ranked = Object.entries(value).map(([key, part]) => {
    const rank: number = numbers.next().value;
    return { rank, entry: [key, shuffleKeys(part, numbers)] as const };
  });
  return Object.fromEntries(ranked.toSorted((one, other) => one.rank - other.rank).map(({ entry }) => entry));
}
