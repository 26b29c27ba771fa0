import assert from 'node:assert/strict';
import type { Config } from '../../../src/config/config.ts';
import { createCounts } from '../../../src/observability/counts.ts';
import { createMetrics } from '../../../src/observability/metrics.ts';
import type { ReadinessReport } from '../../../src/observability/readiness.ts';
import { configOf, routeTo } from '../../harness/app.ts';

const DOCS = routeTo('docs', 'http://docs-mcp/mcp', { credential: 'none' });

export const config = configOf({
  authorization_servers: {
    keycloak: { token_endpoint: 'https://idp.example.com/token', client_id: 'c', client_auth: { method: 'none' } },
  },
  routes: [routeTo('github', 'https://github-mcp.example.com/mcp', { actor_token: { file: '/actor' } }), DOCS],
});
export const [github = assert.fail()] = config.routes;

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
  routes: [DOCS],
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
