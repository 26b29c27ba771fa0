/** What holds where the file is silent, written as the file would write it. The JSON Schema shows the same. */
export const DEFAULTS = {
  listen: '127.0.0.1:8180',
  admin: '127.0.0.1:9180',
  logLevel: 'info',
  sessionHeader: 'mcp-session-id',
  /** Issued tokens; each takes about 2 KiB. */
  maxEntries: 10_000,
  maxAge: '5m',
  maxInFlight: 10_000,
  maxHeaderSize: '32KiB',
  shutdownGrace: '25s',
  grant: 'token_exchange',
  basicEncoding: 'form',
  assertionLifetime: '60s',
  /** HMAC of a client secret; the one that every server has. */
  secretAlgorithm: 'HS256',
  clientAssertionType: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  authorizationServerTimeout: '5s',
  subjectTokenHeader: 'authorization',
  subjectTokenType: 'access_token',
  actorTokenType: 'jwt',
  credential: 'exchange',
  onMissingSubject: 'deny',
  chainAssertion: 'id_jag',
  connectTimeout: '5s',
  responseHeadersTimeout: 0,
  retryBodyLimit: '64KiB',
} as const;
