import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { combinationsOf } from '../../../src/config/match.ts';
import type { Route } from '../../../src/config/route.ts';
import type { KnownFacts } from '../../../src/routing/conditions.ts';
import { parseRequestTarget, type RequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { whyNot } from '../../../src/routing/why-routed.ts';
import { words } from '../../harness/words.ts';
import { routeOf } from './sample-routes.ts';

/** Few hosts and segments, so that routes and requests often match. */
const host = fc.constantFrom(...words('a svc a.svc b.svc xa.svc a.b.svc xa.b.svc b.a.svc'));
const hostPattern = fc.oneof(
  fc.constant(undefined),
  host,
  host.map((suffix) => `*.${suffix}`),
);
const segments = fc.array(fc.constantFrom('x', 'y', 'xy', 'X'), { maxLength: 3 });
const prefix = segments.map((parts) => `/${parts.join('/')}`);
const requestPath = fc
  .tuple(fc.array(fc.constantFrom('x', 'y', 'xy', 'X', '', 'x%2Fy'), { maxLength: 5 }), fc.constantFrom('', '/'))
  .map(([parts, end]) => `/${parts.join('/')}${end}`);
const basePath = fc.constantFrom('', '/mcp', '/mcp/', '/a/b', '/a%20b');

const pattern = fc.constantFrom('*', 'a', 'a*', 'ab', 'ab*', 'b');
const some = <T>(value: fc.Arbitrary<T>) =>
  fc.option(fc.uniqueArray(value, { minLength: 1, maxLength: 2 }), { nil: undefined, freq: 2 });
const conditions = fc.record({
  methods: some(fc.constantFrom('GET', 'POST')),
  mcpMethods: some(pattern),
  mcpNames: some(pattern),
});
const conditionsOrNone = conditions.map((made) =>
  Object.values(made).every((list) => list === undefined) ? undefined : made,
);

const routes = fc.array(fc.tuple(hostPattern, prefix, basePath, conditionsOrNone), { maxLength: 16 }).map((rows) => {
  const pieces = new Set<string>();
  return rows.flatMap(([host, path, base, made], index) => {
    const match = { host, path, conditions: made };
    const own = [...combinationsOf(match)];
    // The config refuses routes that tie.
    if (own.some((piece) => pieces.has(piece))) return [];
    for (const piece of own) pieces.add(piece);
    return [routeOf(`r${index}`, match, { origin: `https://upstream-${index}`, path: base })];
  });
});
const text = fc.constantFrom(undefined, 'a', 'ab', 'abc', 'b', 'c');
const facts: fc.Arbitrary<KnownFacts> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'get'),
  message: fc.option(fc.record({ method: text, name: text }), { nil: undefined }),
});
const target: fc.Arbitrary<RequestTarget> = fc.record({
  host: fc.option(host, { nil: undefined }),
  path: fc.option(requestPath, { nil: undefined, freq: 20 }),
  query: fc.constantFrom('', '?a=1'),
});

/** Rank of the most specific pattern that matches a value: an exact one above a prefix. Negative if none matches. */
function exactness(patterns: readonly string[] | undefined, value: string | undefined): number {
  if (patterns === undefined) return 0;
  return Math.max(
    ...patterns.map((one) => {
      if (value === undefined) return -1;
      if (one === value) return 1000;
      return one.endsWith('*') && value.startsWith(one.slice(0, -1)) ? one.length : -1;
    }),
  );
}

/** The specification: slow and obvious. */
function model(all: readonly Route[], { host: name, path }: RequestTarget, given: KnownFacts): Route | undefined {
  const exactnessOf = ({ match: { conditions: wanted } }: Route) => [
    exactness(wanted?.mcpNames, given.message?.name),
    exactness(wanted?.mcpMethods, given.message?.method),
    exactness(wanted?.methods, given.method),
  ];
  const rank = (pattern: string | undefined): number =>
    pattern === undefined ? 0 : pattern.startsWith('*') ? pattern.length : 1000;
  return all
    .filter(({ match }) => {
      if (path === undefined) return false;
      const hostFits =
        match.host === undefined ||
        match.host === name ||
        (match.host.startsWith('*.') && name?.endsWith(match.host.slice(1)) === true);
      const wanted = match.path.split('/').filter((part) => part !== '');
      const segments = path.split('/').slice(1);
      return hostFits && wanted.every((part, index) => segments[index] === part);
    })
    .filter((route) => exactnessOf(route).every((value) => value >= 0))
    .sort((a, b) => {
      const [name1 = 0, mcp1 = 0, http1 = 0] = exactnessOf(a);
      const [name2 = 0, mcp2 = 0, http2 = 0] = exactnessOf(b);
      return (
        rank(b.match.host) - rank(a.match.host) ||
        b.match.path.length - a.match.path.length ||
        name2 - name1 ||
        mcp2 - mcp1 ||
        http2 - http1
      );
    })[0];
}

test('finds the same route as a linear scan by precedence', () => {
  fc.assert(
    fc.property(routes, target, facts, (all, request, given) => {
      assert.equal(createRouteTable(all).match(request, given)?.name, model(all, request, given)?.name);
    }),
    { numRuns: 5000 },
  );
});

test('gives a true reason for each route that is not taken', () => {
  fc.assert(
    fc.property(routes, target, facts, (all, request, given) => {
      const taken = createRouteTable(all).match(request, given);
      for (const route of all) {
        if (route === taken) continue;
        const why = whyNot(route, request, taken, given);
        const alone = createRouteTable([route]).match(request, given) !== undefined;
        // Without the other routes it is taken exactly if the reason names another route.
        assert.equal(/^the (host|path|conditions) of "/.test(why), alone, why);
        if (why.endsWith('is longer')) assert.ok((taken?.match.path.length ?? 0) > route.match.path.length, why);
        if (alone) assert.ok(taken !== undefined && why.includes(`"${taken.name}"`), why);
      }
    }),
    { numRuns: 2000 },
  );
});

/** Targets of hostile agents: dot segments, smuggled authorities and schemes. */
const parts = words('/ // .. . %2e %2E %2f %5c ; %3b @ : ? # x mcp h http:// evil.com %00 %');
const hostile = fc
  .array(fc.constantFrom(...parts, '\\', ' ', '\t'), { maxLength: 10 })
  .map((pieces) => `/x/${pieces.join('')}`);

test('keeps every request below the origin and path of the upstream', () => {
  const all = [routeOf('x', { path: '/x' }, { origin: 'https://upstream-0', path: '/base/mcp' })];
  const table = createRouteTable(all);
  fc.assert(
    fc.property(hostile, (url) => {
      const request = parseRequestTarget(url, ['h']);
      const route = table.match(request);
      if (route === undefined) return;
      const normalized = new URL(route.upstream.origin + upstreamPath(route, request));
      assert.equal(normalized.origin, 'https://upstream-0');
      assert.match(normalized.pathname, /^\/base\/mcp(?:\/|$)/);
      // Also on a server that decodes before it resolves.
      const decoded = normalized.pathname.replace(/%2f/gi, '/').replace(/%5c/gi, '\\').replace(/%2e/gi, '.');
      assert.match(new URL(decoded, 'https://upstream-0').pathname, /^\/base\/mcp(?:\/|$)/);
    }),
    { numRuns: 5000 },
  );
});

test('takes the upstream from the route alone and keeps the query', () => {
  fc.assert(
    fc.property(routes, target, (all, request) => {
      const route = createRouteTable(all).match(request);
      if (route === undefined) return;
      const path = upstreamPath(route, request);
      assert.ok(path.startsWith('/'), path);
      assert.ok(path.startsWith(route.upstream.path.replace(/\/$/, '')), path);
      assert.ok(path.endsWith(request.query), path);
    }),
  );
});
