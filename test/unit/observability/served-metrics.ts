import type { Config } from '../../../src/config/config.ts';
import type { Route } from '../../../src/config/route.ts';
import { createCounts } from '../../../src/observability/counts.ts';
import { createMetrics } from '../../../src/observability/metrics.ts';
import type { ReadinessReport } from '../../../src/observability/readiness.ts';
import { configOf } from '../../harness/app.ts';

export const config = configOf({
  authorization_servers: {
    keycloak: { token_endpoint: 'https://idp.example.com/token', client_id: 'c', client_auth: { method: 'none' } },
  },
  routes: [
    {
      name: 'github',
      match: { path: '/github' },
      upstream: 'https://github-mcp.example.com/mcp',
      actor_token: { file: '/actor' },
    },
    { name: 'docs', match: { path: '/docs' }, upstream: 'http://docs-mcp/mcp', credential: 'none' },
  ],
});
const [first] = config.routes;
if (first === undefined) throw new Error('the config has a route');
export const github: Route = first;

const client_auth = { method: 'client_secret_basic', client_secret: { file: '/secret' } };
/** A config whose server is for a transmitter alone. */
export const signalling = configOf({
  authorization_servers: {
    'of-signals': { token_endpoint: 'https://idp.example.com/token', client_id: 'c', client_auth },
  },
  signals: {
    transmitters: {
      idp: {
        issuer: 'https://idp.example.com',
        audience: 'c',
        delivery: 'poll',
        poll_endpoint: 'https://idp.example.com/poll',
        authorization_server: 'of-signals',
      },
    },
  },
  routes: [{ name: 'docs', match: { path: '/docs' }, upstream: 'http://docs-mcp/mcp', credential: 'none' }],
});

export function served(cacheSize = 0, report: ReadinessReport = { ready: true, checks: {} }, first: Config = config) {
  const counts = createCounts(Date.now);
  const { write } = createMetrics('1.2.3', {
    counts,
    cacheEntries: () => cacheSize,
    cacheMaxEntries: () => config.cache.maxEntries,
    readiness: () => report,
    logLinesLost: () => 7,
    audit: () => undefined,
    activeConfig: () => config,
    connections: { listen: () => ({ open: 3, dropped: 4 }), admin: () => ({ open: 5, dropped: 6 }) },
    tlsRefusals: () => [{ listener: 'listen', refused: 8 }],
  });
  counts.serve(first);
  return { ...counts, write };
}

export function seriesOf(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('cambist_'))
    .map((line) => line.replace(/ \S+$/, ''));
}
