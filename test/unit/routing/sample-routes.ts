import type { Match } from '../../../src/config/match.ts';
import type { Route } from '../../../src/config/route.ts';
import type { Upstream } from '../../../src/config/urls.ts';
import { routeOf as anyRoute } from '../tokens/sample.ts';

/** A route with these parts, without a credential. */
export function routeOf(name: string, match: Partial<Match>, upstream: Partial<Upstream> = {}): Route {
  return anyRoute({
    name,
    match: { host: undefined, path: '/', conditions: undefined, ...match },
    upstream: { origin: 'https://backend.example.com', host: 'backend.example.com', path: '', ...upstream },
    credential: { kind: 'none' },
  });
}
