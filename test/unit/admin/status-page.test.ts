import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DecisionRow } from '../../../src/admin/decision-report.ts';
import { PAGE_SCRIPT } from '../../../src/admin/page-assets.ts';
import { html } from '../../../src/admin/page-parts.ts';
import { problemsOf } from '../../../src/admin/page-problems.ts';
import type { RouteStatus } from '../../../src/admin/route-status.ts';
import { signalsTable, statusPage } from '../../../src/admin/status-page.ts';
import type { StatusReport } from '../../../src/admin/status-report.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { noResponses } from '../../../src/observability/response-classes.ts';
import { SAMPLE_PAGE, SAMPLE_ROUTE, SAMPLE_STATUS } from './sample-status.ts';

function pageOf(change: Partial<StatusReport> = {}): string {
  return statusPage({ ...SAMPLE_PAGE, report: { ...SAMPLE_STATUS, ...change } });
}

function readable(page: string): string {
  return page
    .replace(/<[^>]*>/g, ' ')
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/\s+/g, ' ');
}

const textOf = (change: Partial<StatusReport> = {}) => readable(pageOf(change));

/** The problems at the top of the page. */
function problemsIn(change: Partial<StatusReport>): string {
  return /Needs attention.*?(?=Last 15 minutes)/.exec(textOf(change))?.[0] ?? '';
}

test('shows everything without a script', () => {
  const text = textOf();
  for (const words of [
    'cambist 1.2.3 on agent-7d9f ● ready',
    'Requests 345 3 in flight, 4 streams',
    'Errors of cambist 1 5xx; 1 since the start',
    'Errors of backends 5 5xx or none; and 5 with 4xx',
    'Refused to callers 7 4xx; 7 since the start',
    'Response time, p95 120 ms p50 1.2 ms, p99 2.5 s',
    'Served from cache 99 % of 100 requests 7 of 10,000 tokens',
    'github ● ok 345 99 % 3 4 330 0 5 5 7 1 1.2 ms 120 ms 2.5 s',
    'github.tools.svc /mcp POST · write_* → https://github-mcp.example.com/mcp same audience, token from keycloak',
    'Last failure 2026-11-24 12:05:00 UTC ERR_UPSTREAM_TLS Backend not trusted. (3 times)',
    'keycloak ● available 20 1 11 ms 40 ms 45 ms',
    'github ▲ 502 ERR_UPSTREAM_TLS 2026-11-24 12:05:00 UTC 3 Backend not trusted. Do this.',
    'Active version 0a1b2c3d',
    'Last reload none yet',
    'Log level',
    'Expiry of the actor token of route "github" 2026-11-24 13:00:00 UTC',
    'Show it here version: 1',
    'not routed ◆ 403 ERR_ROUTE_NOT_FOUND',
  ]) {
    assert.ok(text.includes(words), `${words}: ${text}`);
  }
  assert.doesNotMatch(text, /attention/);
});

const FAILURE = SAMPLE_STATUS.failures[0] ?? assert.fail();
const MISSING = { status: 'waiting', cause: undefined, fix: undefined } as const;
const DOWN = { name: 'keycloak', state: 'down', exchanges: 1, failures: 1, mean_ms: undefined } as const;
const AT = SAMPLE_STATUS.started_at;

test('shows problems at the top, with their fixes, and is not green then', () => {
  const docs = { check: 'routes.docs.tls', status: 'ERR_CREDENTIAL_UNAVAILABLE', fix: 'Put the file there.' } as const;
  const change: Partial<StatusReport> = {
    ready: false,
    missing: [{ ...MISSING, ...docs }],
    authorization_servers: [DOWN],
    config: { ...SAMPLE_STATUS.config, last_reload: { at: AT, result: 'failure' } },
  };
  const attention = problemsIn(change);
  for (const words of [
    'routes.docs.tls is not ready yet: ERR_CREDENTIAL_UNAVAILABLE . Put the file there.',
    'Authorization server keycloak is down. Check that',
    'The last config reload failed.',
  ]) {
    assert.ok(attention.includes(words), words);
  }
  assert.match(textOf(change), /▲ not ready.*keycloak ▲ down 1 1 – – –/);
  const page = pageOf({ authorization_servers: [DOWN] });
  assert.match(readable(page), /◆ ready, but one problem/);
  assert.match(page, /<title>cambist on agent-7d9f: ready, but one problem<\/title>/);
  assert.doesNotMatch(page, /pill good[^>]*>[^<]*<span[^>]*>●<\/span> ready/);
});

test('shows a reload as applied in part, and names the keys that need a restart', () => {
  const withReload = (result: 'success' | 'failure') => ({
    config: {
      ...SAMPLE_STATUS.config,
      waits_for_restart: ['listen', 'limits.max_header_size'],
      last_reload: { at: AT, result },
    },
  });
  const attention = problemsIn(withReload('success'));
  assert.ok(attention.includes('but not in effect: listen , limits.max_header_size . Restart cambist'), attention);
  const text = textOf(withReload('success'));
  assert.match(text, /Last reload 2026-11-24 12:00:00 UTC ◆ applied in part/);
  assert.match(text, /Needs a restart listen , limits\.max_header_size/);
  assert.match(textOf(withReload('failure')), /▲ failed[\s\S]+Needs a restart listen/);
});

test('escapes markup in names', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', 'a', ' ', '/', '=') }), (text) => {
      const { text: element } = html`<p title="${text}">${text}</p>`;
      const [, title = '', content = ''] =
        /^<p title="([^"<>']*)">([^<>]*)<\/p>$/.exec(element) ?? assert.fail(element);
      assert.equal(title, content);
      const back = content.replace(
        /&(lt|gt|quot|#39|amp);/g,
        (_, name: string) => ({ lt: '<', gt: '>', quot: '"', '#39': "'" })[name] ?? '&',
      );
      assert.equal(back, text);
    }),
  );
});

test('contains no inline script or style, which the policy forbids', () => {
  const page = pageOf();
  assert.doesNotMatch(page, /<script(?! src="status\.js" defer><\/script>)|<style|\sstyle=|\son\w+=/);
});

test('inserts text and never HTML by its script', () => {
  assert.doesNotMatch(PAGE_SCRIPT, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function/);
});

type Latest = Partial<RouteStatus['latest']>;

/** One route in this state, and the error of its last failure. */
function routeIn(state: RouteStatus['state'], latest: Latest, error?: ErrorCode, status = 502): Partial<StatusReport> {
  const routes = [{ ...SAMPLE_ROUTE, state, status: 404, latest: { ...noResponses(), ...latest } }];
  return { routes, ...(error && { failures: [{ ...FAILURE, error, status }] }) };
}

const audit = (dropped: number, writable: boolean) => ({ audit: { written: 9, dropped, writable } });

const signals = (more: Partial<NonNullable<StatusReport['signals']>>) => ({
  signals: { revocations: 3, full_issuers: 0, transmitters: [], ...more },
});

const replicas = (unshared: number, in_sync: boolean, full: boolean) =>
  signals({ replicas: { unshared, in_sync, full } });

const FAILING = {
  name: 'idp',
  channels: ['poll', 'logout'],
  available: false,
  problem: 'stream',
  cause: 'transmitter "idp": the request for events to ["<other>"] returned status 404',
  fix: 'set poll_endpoint to its "endpoint_url"',
  since: AT,
  last_signal_at: AT,
} as const;

for (const [what, change, ...expected] of [
  ['audit records that cannot be written', audit(0, false), /Audit records cannot be written\. Check .* in audit\.to/],
  ['dropped audit records', audit(1200, false), /Audit records cannot be written: 1,200 were dropped\./],
  [
    'revocations that replicas do not know',
    replicas(2, false, false),
    /Other replicas do not know of 2 revocations, and serve the callers until they do/,
    /This replica does not learn of revocations that other replicas receive/,
  ],
  ['a store without room for revocations', replicas(0, true, true), /no room for more revocations. Lower signals/],
  [
    'a transmitter that fails, with cause and fix',
    signals({ transmitters: [FAILING] }),
    /transmitter idp may not arrive: stream .*\["&lt;other&gt;"\] returned status 404\. Set poll_endpoint to its "endpoint_url"\./,
  ],
  ['full lists', signals({ full_issuers: 2 }), /All older tokens of 2 issuers are refused\. Lower signals\.remember/],
  ['a full list', signals({ full_issuers: 1 }), /All older tokens of 1 issuer are refused/],
  [
    'a route whose backend returned 404 to everything',
    routeIn('only_4xx', { '4xx': 12 }),
    /its backend returned 404 to all of the last 12 requests. Compare the path of upstream/,
  ],
  [
    'a failing route',
    routeIn('failing', { '2xx': 1, failed: 3 }),
    /3 of the last 4 requests failed, the last with ERR_UPSTREAM_TLS . Do this\./,
  ],
  ['a failing backend', routeIn('failing', { '5xx': 4 }), /4 of the last 4 requests failed with 5xx of the backend/],
  [
    'a route that gets no token',
    routeIn('refused', { refused: 9 }, 'ERR_EXCHANGE_REFUSED', 403),
    /github : the authorization server refuses it every token\. Do this\./,
  ],
] as [string, Partial<StatusReport>, ...RegExp[]][]) {
  test(`shows as a problem: ${what}`, () => {
    for (const each of expected) assert.match(problemsIn(change), each);
  });
}

for (const [what, change] of [
  ['audit records that can be written again', audit(1, true)],
  ['replicas in sync', replicas(0, true, false)],
  ['revocations', signals({})],
  ['two responses with 404', routeIn('only_4xx', { '4xx': 2 })],
  ['callers without a token', routeIn('refused', { refused: 9 }, 'ERR_SUBJECT_TOKEN_MISSING', 401)],
] as [string, Partial<StatusReport>][]) {
  test(`shows as no problem: ${what}`, () => assert.equal(problemsIn(change), ''));
}

const NOTHING = { routes: [], authorization_servers: [], failures: [] };
const CACHE = { available: true, since: AT };
const UNREACHABLE = { available: false, problem: 'unreachable' } as const;
const UNROUTED = { ...FAILURE, route: undefined };
const OF_TEAM = { ...UNROUTED, team: 'billing' };
const EXPIRED = { ...FAILURE, finding: 'expired', cause: 'the certificate has expired', fix: 'renew it' };
const IDLE_AGENT = { unauthorized: 0, forbidden: 0, in_flight: 0, connections: 0 };
const AGENTS = Array.from({ length: 201 }, (_, i) => ({ ...IDLE_AGENT, name: `agent-${i}`, requests: i }));
const BUSY_AGENT = { ...IDLE_AGENT, name: 'busy', requests: 1000, forbidden: 7 };
const RESULTS = { allowed: 1000, refused: 3, failed: 2, cancelled: 1, denied: 7 };
const DATA_PLANE = { protocol: 'http', results: RESULTS, p50_ms: 0.5, p95_ms: 12, p99_ms: 220 } as const;
const NO_SERVER = { audience: [], authorization_servers: [] };
const routeWith = (keys: Partial<RouteStatus>) => ({ routes: [{ ...SAMPLE_ROUTE, ...keys }] });

for (const [what, change, ...expected] of [
  ['that there is nothing', NOTHING, /No routes\..*No route uses one\..*None since the process started\./],
  ['the one status that a route gets', routeWith({ state: 'only_4xx', status: 404 }), /github ▲ only 404/],
  ['that a route gets several statuses of 4xx', routeWith({ state: 'only_4xx' }), /github ▲ only 4xx/],
  ['that a backend gets no token', routeWith({ credential: 'none', ...NO_SERVER }), /→ https:\S+\/mcp no token/],
  ["that it gets the caller's", routeWith({ credential: 'passthrough', ...NO_SERVER }), /the caller's own token/],
  ['that it gets a secret', routeWith({ credential: 'secret', ...NO_SERVER }), /a secret from a file/],
  ["that it gets cambist's own", routeWith({ credential: 'client_credentials' }), /cambist's own token from keycloak/],
  ['each audience', routeWith({ audience: ['a', 'b'] }), /audience a , b , token from keycloak/],
  ['that the audience is not checked', routeWith({ audience: [] }), /any audience, token from keycloak/],
  ['a route without a host', routeWith({ match: { ...SAMPLE_ROUTE.match, host: undefined } }), /mcp on any host POST/],
  [
    'the cause of a failure',
    { failures: [EXPIRED] },
    /Last failure [^(]*ERR_UPSTREAM_TLS The certificate has expired\. \(3 times\)/,
    /Backend not trusted\. The certificate has expired\. Renew it\./,
  ],
  ['the team of a request without a route', { failures: [OF_TEAM, UNROUTED] }, /no route of billing ▲.*not routed ▲/],
  [
    'the agents, those with the most requests first',
    { agents: [...AGENTS, BUSY_AGENT] },
    /Agent Requests since the start 401 403 In flight Connections busy 1,000 0 7 0 0 agent-200 200 /,
    / agent-2 2 0 0 0 0 and 2 more in \/status.json/,
  ],
  [
    'decisions by protocol',
    { data_planes: [DATA_PLANE] },
    /secret p50 p95 p99 http 1,000 3 2 1 7 0\.5 ms 12 ms 220 ms/,
  ],
  ['an available shared cache', { shared_cache: CACHE }, /7 of 10,000 tokens shared cache: ● available/],
  ['an unavailable one', { shared_cache: { ...CACHE, ...UNREACHABLE } }, /shared cache: ▲ unavailable/],
] as [string, Partial<StatusReport>, ...RegExp[]][]) {
  test(`shows ${what}`, () => {
    for (const each of expected) assert.match(textOf(change), each);
  });
}

test('shows nothing of what the config lacks', () => {
  assert.doesNotMatch(pageOf(), /id="(?:agents|teams|data-planes)"|shared cache/);
});

test('shows the last refusal of a caller apart from failures', () => {
  const error = 'ERR_SUBJECT_TOKEN_MISSING' as const;
  const refusal = { ...FAILURE, error, status: 401, title: 'Subject token missing' };
  const newer = textOf({ failures: [refusal, FAILURE] });
  assert.match(newer, /Last failure [^·]*Last refusal 2026-11-24 12:05:00 UTC ERR_SUBJECT_TOKEN_MISSING/);
  assert.match(newer, /github ◆ 401 ERR_SUBJECT_TOKEN_MISSING/);
  assert.doesNotMatch(textOf({ failures: [FAILURE, refusal] }), /Last refusal/);
});

test('lists ten problems at most, and counts the others', () => {
  const missing = Array.from({ length: 12 }, (_, i) => ({ ...MISSING, check: `routes.r${i}.tls` }));
  const text = problemsIn({ ready: false, missing });
  assert.match(text, /routes\.r9\.tls/);
  assert.doesNotMatch(text, /routes\.r10\.tls/);
  assert.match(text, /and 2 more/);
});

test('shows neither single requests nor the config nor a control to other machines', () => {
  const page = statusPage({ ...SAMPLE_PAGE, local: undefined });
  assert.match(readable(page), /Last requests Shown on this machine only\./);
  assert.doesNotMatch(page, /ERR_ROUTE_NOT_FOUND|<select|version: 1|config\.yaml/);
  assert.match(readable(page), /Log level info/);
});

test('offers no log level with fewer lines than configured', () => {
  const page = statusPage({ ...SAMPLE_PAGE, logLevel: { level: 'debug', configured: 'warn' } });
  assert.match(page, /<option>warn<\/option><option>info<\/option><option selected>debug<\/option><option>trace/);
  assert.doesNotMatch(page, /<option>error/);
  assert.match(readable(page), /until the next restart; configured: warn/);
});

test('labels every column for screen readers, and every section by its heading', () => {
  const page = pageOf();
  assert.doesNotMatch(page, /<th(?![^>]*scope=)[ >]/);
  for (const [, id = ''] of page.matchAll(/aria-labelledby="([^"]+)"/g)) assert.ok(page.includes(`id="${id}"`), id);
  assert.equal([...page.matchAll(/<section /g)].length, [...page.matchAll(/<section [^>]*aria-labelledby/g)].length);
  for (const [svg] of page.matchAll(/<svg[^>]*>/g)) assert.match(svg, /aria-hidden="true"/);
});

test('shows 200 routes of many: those with problems first, then those with the most requests', () => {
  const routes = Array.from({ length: 300 }, (_, i) => ({
    ...SAMPLE_ROUTE,
    name: `r-${i}`,
    state: i === 299 ? ('failing' as const) : ('ok' as const),
    recent: { ...SAMPLE_ROUTE.recent, requests: i },
  }));
  const page = pageOf({ routes });
  const shown = [...page.matchAll(/<span id="route-([^"]+)"/g)].map(([, name]) => name);
  assert.deepEqual([shown.length, shown[0], shown[1], shown.at(-1)], [200, 'r-299', 'r-298', 'r-100']);
  assert.match(readable(page), /and 100 more in \/status\.json/);
});

test('shows the last five requests, and the others on demand', () => {
  const [decision] = SAMPLE_PAGE.local?.decisions ?? [];
  const decisions = Array.from({ length: 7 }, (_, i) => ({ ...decision, route: `route-${i}` })) as DecisionRow[];
  const page = statusPage({ ...SAMPLE_PAGE, local: { config: undefined, decisions } });
  const [shown = '', more = ''] = page.slice(page.indexOf('id="decisions"')).split('<details id="more-decisions">');
  const routesIn = (part: string) => [...part.matchAll(/>(route-\d)</g)].map(([, name]) => name);
  assert.deepEqual(routesIn(shown), ['route-6', 'route-5', 'route-4', 'route-3', 'route-2']);
  assert.match(more, /^<summary>2 more<\/summary>/);
  assert.deepEqual(routesIn(more), ['route-1', 'route-0']);
});

test('shows each transmitter, and nothing without signals', () => {
  assert.equal(signalsTable(undefined), undefined);
  const working = { name: 'other', channels: ['push'], available: true };
  const table = signalsTable({ revocations: 7, full_issuers: 0, transmitters: [FAILING, working] })?.text ?? '';
  assert.match(table, /with 7 revocations in force/);
  assert.match(table, /idp<\/th>.*unavailable.*poll, logout.*2026-11-24 12:00:00 UTC.*none yet<\/td>/s);
  assert.match(table, /other<\/th>.*available.*none yet<.*–<\/td>/s);
  const one = signalsTable({ revocations: 1, full_issuers: 0, transmitters: [FAILING] })?.text ?? '';
  assert.match(one, /1 revocation in/);
});

test('shows which file of a team is invalid, whatever the team wrote, after the problems of others', () => {
  const invalid = { file: 'billing/a.yaml', since: AT, cause: 'billing/a.yaml:1:2: <img src=x>"\'', errors: 2 };
  const open = { open: true, routes: 3, files: 1, invalid: [] };
  const teams = [
    ...Array.from({ length: 201 }, (_, i) => ({ ...open, name: `team-${i}` })),
    { name: 'billing', open: false, routes: 0, files: 3, invalid: [invalid, invalid] },
  ];
  const change = { teams, config: { ...SAMPLE_STATUS.config, waits_for_restart: ['listen'] } };
  const page = pageOf(change);
  assert.doesNotMatch(page, /<img src=x/);
  const text = readable(page);
  assert.match(
    text,
    /billing ▲ closed 0 3 billing\/a\.yaml:1:2: &lt;img src=x&gt;"' \(since 2026-11-24 12:00:00 UTC , 2 errors, and 1 more file\)/,
  );
  assert.match(text, /team-198 ● open 3 1 /);
  assert.match(text, /and 2 more in \/status\.json/);
  const [restart, closed, ...more] = [...problemsOf({ ...SAMPLE_STATUS, ...change })].map(({ text: found }) =>
    readable(found.text),
  );
  assert.match(restart ?? '', /not in effect: listen/);
  assert.match(closed ?? '', /^Requests in the region of team billing get 503 since 2026-11-24 12:00:00 UTC : /);
  assert.deepEqual(more, []);
});
