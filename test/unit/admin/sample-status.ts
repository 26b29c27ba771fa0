import type { StatusReport } from '../../../src/admin/status.ts';

const FIGURES = {
  requests: 12_345,
  failures: 1,
  backend_errors: 2,
  in_flight: 3,
  open_streams: 4,
  needed_token: 200,
  served_from_cache: 199,
};

export const SAMPLE_STATUS: StatusReport = {
  version: '1.2.3',
  started_at: '2026-11-24T12:00:00.000Z',
  ready: true,
  missing: [],
  config: { version: '0a1b2c3d', loaded_at: '2026-11-24T12:00:01.000Z', waits_for_restart: [] },
  totals: FIGURES,
  cache: { entries: 7, max_entries: 10_000 },
  authorization_servers: [{ name: 'keycloak', state: 'available', exchanges: 20, failures: 1, mean_ms: 12.5 }],
  routes: [{ name: 'github', credential: 'exchange', authorization_servers: ['keycloak'], ...FIGURES }],
  failures: [
    { route: 'github', error: 'ERR_UPSTREAM_TLS', fix: 'Do this.', count: 3, last_at: '2026-11-24T12:05:00.000Z' },
  ],
  credentials: [{ name: 'actor token of route "github"', expires_at: '2026-11-24T13:00:00.000Z' }],
};
