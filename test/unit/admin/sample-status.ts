import type { RouteStatus } from '../../../src/admin/route-status.ts';
import type { PageContent } from '../../../src/admin/status-page.ts';
import type { StatusReport } from '../../../src/admin/status-report.ts';
import { noResponses } from '../../../src/observability/response-classes.ts';

const FIGURES = {
  requests: 12_345,
  refused: 7,
  failed: 1,
  backend_errors: 2,
  in_flight: 3,
  open_streams: 4,
  needed_token: 200,
  served_from_cache: 199,
};

const RECENT = {
  requests: 345,
  responses: { ...noResponses(), '2xx': 330, '4xx': 5, '5xx': 2, refused: 7, failed: 1, unreached: 3 },
  needed_token: 100,
  served_from_cache: 99,
  p50_ms: 1.2,
  p95_ms: 120,
  p99_ms: 2500,
};

export const SAMPLE_ROUTE: RouteStatus = {
  name: 'github',
  match: { host: 'github.tools.svc', path: '/mcp', methods: ['POST'], mcp_method: undefined, mcp_name: ['write_*'] },
  upstream: 'https://github-mcp.example.com/mcp',
  credential: 'exchange',
  audience: ['https://github-mcp.example.com/mcp'],
  authorization_servers: ['keycloak'],
  state: 'ok',
  status: undefined,
  latest: { ...noResponses(), '2xx': 30 },
  recent: RECENT,
  ...FIGURES,
};

export const SAMPLE_STATUS: StatusReport = {
  version: '1.2.3',
  host: 'agent-7d9f',
  at: '2026-11-24T12:10:00.000Z',
  started_at: '2026-11-24T12:00:00.000Z',
  ready: true,
  missing: [],
  config: { version: '0a1b2c3d', loaded_at: '2026-11-24T12:00:01.000Z', waits_for_restart: [], last_reload: undefined },
  totals: FIGURES,
  recent: RECENT,
  cache: { entries: 7, max_entries: 10_000 },
  shared_cache: undefined,
  signals: undefined,
  audit: undefined,
  authorization_servers: [
    {
      name: 'keycloak',
      state: 'available',
      exchanges: 20,
      failures: 1,
      mean_ms: 12.5,
      p50_ms: 11,
      p95_ms: 40,
      p99_ms: 45,
    },
  ],
  routes: [SAMPLE_ROUTE],
  teams: undefined,
  agents: undefined,
  inbound: undefined,
  data_planes: undefined,
  failures: [
    {
      route: 'github',
      team: undefined,
      error: 'ERR_UPSTREAM_TLS',
      status: 502,
      title: 'Backend not trusted',
      finding: undefined,
      cause: undefined,
      fix: 'Do this.',
      count: 3,
      last_at: '2026-11-24T12:05:00.000Z',
    },
  ],
  credentials: [{ name: 'actor token of route "github"', expires_at: '2026-11-24T13:00:00.000Z' }],
};

/** Charts without traffic. */
export const SAMPLE_CHARTS = {
  responses: Array.from({ length: 61 }, noResponses),
  p95Ms: Array.from({ length: 61 }, () => undefined),
  inbound: [],
  route: () => Array.from({ length: 61 }, noResponses),
};

const REQUEST = {
  duration_ms: 1,
  error: undefined,
  agent: undefined,
  route: undefined,
  team: undefined,
  matched: undefined,
  cache: undefined,
  exchange_ms: undefined,
  requested: undefined,
  granted: undefined,
};

export const SAMPLE_PAGE: PageContent = {
  report: SAMPLE_STATUS,
  charts: SAMPLE_CHARTS,
  logLevel: { level: 'info', configured: 'info' },
  local: {
    config: 'version: 1\n',
    decisions: [
      {
        ...REQUEST,
        number: 7,
        time: '2026-11-24T12:05:01.000Z',
        status: 200,
        outcome: 'forwarded',
        route: 'github',
        matched: 'any host, path /github',
        cache: 'miss',
        exchange_ms: 8,
        requested: { resource: ['https://github.example.com/mcp'], audience: undefined, scope: 'read write' },
        granted: { audience: ['https://github.example.com/mcp'], scope: 'read' },
      },
      {
        ...REQUEST,
        number: 8,
        time: '2026-11-24T12:05:02.000Z',
        status: 403,
        outcome: 'refused',
        error: 'ERR_ROUTE_NOT_FOUND',
      },
    ],
  },
};
