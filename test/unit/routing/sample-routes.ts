import type { Match, Route, Upstream } from '../../../src/config/route.ts';

/** A route with these parts, and the defaults of the config for everything else. */
export function routeOf(name: string, match: Partial<Match>, upstream: Partial<Upstream> = {}): Route {
  return {
    name,
    match: { host: undefined, path: '/', conditions: undefined, ...match },
    upstream: { origin: 'https://backend.example.com', host: 'backend.example.com', path: '', ...upstream },
    subjectToken: {
      header: 'authorization',
      type: 'urn:ietf:params:oauth:token-type:access_token',
      file: undefined,
      scope: undefined,
      verify: undefined,
    },
    credential: { kind: 'none' },
    consent: undefined,
    send: undefined,
    timeouts: { connectMs: 5000, responseHeadersMs: 0, stallMs: 60_000 },
    retryBodyLimitBytes: 65_536,
    stepUp: [],
    allowedOrigins: [],
    http2: false,
    tls: undefined,
  };
}
