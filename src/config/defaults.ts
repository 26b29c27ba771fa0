/** Defaults, written as in the config file. The JSON Schema shows the same values. */
export const DEFAULTS = {
  grant: 'token_exchange',
  basicEncoding: 'form',
  assertionLifetime: '60s',
  /** HMAC with the client secret. Every server supports this one. */
  secretAlgorithm: 'HS256',
  clientAssertionType: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  /** Entra's audience for tokens that vouch for another identity. */
  assertionScope: 'api://AzureADTokenExchange/.default',
  authorizationServerTimeout: '5s',
  subjectTokenHeader: 'authorization',
  subjectTokenType: 'access_token',
  actorTokenType: 'jwt',
  credential: 'exchange',
  sendHeader: 'Authorization',
  onMissingSubject: 'deny',
  chainAssertion: 'id_jag',
  connectTimeout: '5s',
  responseHeadersTimeout: 0,
  stallTimeout: '60s',
  retryBodyLimit: '64KiB',
} as const;
