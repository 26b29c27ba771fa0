import type { Config } from '../../src/config/config.ts';
import { configOf } from '../harness/app.ts';
import type { Random } from '../harness/random.ts';
import type { HostileBackend } from './hostile-backend.ts';

/** Paths that callers use. Which backend is behind one changes from config to config. */
export const PATHS = ['/one', '/two', '/three', '/four', '/five', '/six'] as const;

/** Authority that callers may open a tunnel to. */
export interface ConfigParts {
  readonly tokenEndpoint: string;
  readonly clientSecret: string;
  readonly backends: readonly HostileBackend[];
  /** The CA of the backends that speak TLS. */
  readonly caFile: string;
  readonly tunnel: string;
  /** `cache.shared`. Undefined: each replica has a cache of its own. */
  readonly shared: object | undefined;
}

/**
 * A config in which chance has assigned the backends to the paths.
 * @param shuffled false: the same assignment each time, with generous limits
 */
export function createConfig(parts: ConfigParts, random: Random, shuffled = true): Config {
  const backends = shuffled ? random.shuffle(parts.backends) : parts.backends;
  const routes = PATHS.map((path, index) => {
    const backend = backends[index % backends.length];
    if (backend === undefined) throw new Error('no backends');
    return {
      name: `${shuffled ? random.pick(['a', 'b']) : 'a'}${path.slice(1)}`,
      match: { path },
      upstream: backend.url,
      credential: backend.credential,
      timeouts: { connect: '1s', response_headers: '1500ms', stall: '1s' },
      ...(backend.url.startsWith('https:') && { tls: { ca: { file: parts.caFile } } }),
      ...(shuffled && random.chance(0.3) && { scope: random.pick(['read', 'read write']) }),
      ...(shuffled && random.chance(0.3) && { step_up: ['more'] }),
      ...(shuffled && random.chance(0.2) && { retry_body_limit: '1KiB' }),
    };
  });
  return configOf({
    authorization_servers: {
      main: {
        token_endpoint: parts.tokenEndpoint,
        client_id: 'chaos',
        client_auth: { method: 'client_secret_basic', client_secret: { file: parts.clientSecret } },
        timeout: '1s',
      },
    },
    // A small cache evicts, and small limits refuse.
    cache: {
      max_entries: shuffled ? random.pick([2, 10, 1000]) : 1000,
      max_age: '1m',
      ...(parts.shared && { shared: parts.shared }),
    },
    limits: { max_in_flight: shuffled ? random.pick([20, 100, 1000]) : 1000, shutdown_grace: '5s' },
    forward_proxy: { connect: [parts.tunnel] },
    routes: shuffled ? random.shuffle(routes) : routes,
  });
}
