import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Route } from '../../../src/config/route.ts';
import { callerReference } from '../../../src/proxy/caller-reference.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { parseRequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { words } from '../../harness/words.ts';
import { routeOf } from '../routing/sample-routes.ts';

const ORIGIN = 'https://backend.example.com';

/** Rewrites a reference of the upstream's response to a request for this path. */
function turned(match: string, upstream: string, request: string, reference: string, others: Route[] = []): string {
  const route = routeOf('r', { path: match }, { path: upstream });
  const target = parseRequestTarget(request, ['h']);
  const active = { table: createRouteTable([route, ...others]) };
  const incoming = { rawHeaders: ['Host', 'h'], socket: { localAddress: '10.0.0.1', localPort: 8080 } };
  const routed = { route, target, path: upstreamPath(route, target), request: { url: request, active, incoming } };
  return callerReference(reference, routed as unknown as Routed, 'location');
}

test('leads references under the upstream back through the route, and others to the upstream', () => {
  for (const [match, upstream, request, reference, expected] of [
    ['/github', '/mcp', '/github/sse', '/mcp/messages?s=1', '/github/messages?s=1'],
    ['/github', '/mcp', '/github/sse', `${ORIGIN}/mcp/messages?s=1#f`, '/github/messages?s=1#f'],
    ['/github', '/mcp', '/github/sse', 'HTTPS://Backend.Example.com:443/mcp/x', '/github/x'],
    ['/github', '/mcp', '/github/sse', '//backend.example.com/mcp/x', '/github/x'],
    ['/github', '/mcp', '/github/sse', '\\\\backend.example.com\\mcp\\x', '/github/x'],
    ['/github', '/mcp', '/github', '/mcp/', '/github/'],
    ['/github', '/mcp', '/github/', '/mcp', '/github'],
    ['/github', '/mcp', '/github/sse', '/mcpx/messages', `${ORIGIN}/mcpx/messages`],
    ['/github', '/mcp', '/github/sse', '/mcp/../admin', `${ORIGIN}/admin`],
    ['/github', '/mcp', '/github/sse', '/mcp/%2e%2e/admin', `${ORIGIN}/admin`],
    ['/github', '/mcp', '/github/sse', '/messages', `${ORIGIN}/messages`],
    ['/github', '/mcp', '/github/sse', '../../github', `${ORIGIN}/github`],
    ['/github', '/mcp', '/github/sse', 'https://elsewhere.example.com/mcp/x', 'https://elsewhere.example.com/mcp/x'],
    ['/github', '/mcp', '/github/sse', 'http://backend.example.com/mcp/x', 'http://backend.example.com/mcp/x'],
    ['/github', '/mcp', '/github/sse', 'https://u:p@backend.example.com/mcp', 'https://u:p@backend.example.com/mcp'],
    ['/github', '/mcp', '/github/sse', 'vs\tcode://callback?code=1', 'vscode://callback?code=1'],
    ['/github', '', '/github/sse', '/messages', '/github/messages'],
    ['/github', '', '/github/sse', '/', '/github/'],
    ['/github', '/', '/github/sse', '/messages', '/github/messages'],
    ['/', '/mcp', '/sse', '/mcp/messages', '/messages'],
    ['/', '/mcp', '/', '/mcp', '/'],
    ['/', '/mcp/', '/sse', '/mcp', '/'],
    ['/mcp', '/mcp', '/mcp/sse', `${ORIGIN}/mcp/messages`, '/mcp/messages'],
    // The reference is correct without a change.
    ['/mcp', '/mcp', '/mcp/sse', '/mcp/messages', '/mcp/messages'],
    ['/github', '/mcp', '/github/sse', 'messages?s=1', 'messages?s=1'],
    ['/github', '/mcp', '/github/sse', '?s=1', '?s=1'],
    ['/github', '/mcp', '/github/sse', '', ''],
    // Clients could read it differently.
    ['/github', '/mcp', '/github/sse', 'a\\b', '/github/a/b'],
    ['/github', '/mcp', '/github/sse', ' a\tb', '/github/ab'],
    ['/github', '/mcp', '/github', 'mcp/messages', '/github/messages'],
    // Two slashes would begin a host.
    ['/', '', '/x', `${ORIGIN}//evil.example.com/x`, `${ORIGIN}//evil.example.com/x`],
  ] as const) {
    assert.equal(turned(match, upstream, request, reference), expected, `${match} → ${upstream}: ${reference}`);
  }
});

test('refuses references that are malformed, or that name cambist without a route', () => {
  const long = `/mcp/${'x'.repeat(9000)}`;
  for (const reference of ['https://', 'http://[x', long, '/mcp/a%2f..%2fb', 'http://h/other', 'x:../b']) {
    const refused = { code: 'ERR_CROSS_ROUTE_REFERENCE' };
    assert.throws(() => turned('/github', '/mcp', '/github', reference), refused, reference);
  }
});

test('leads the caller through the route to the resource that the upstream meant', () => {
  const segment = fc.constantFrom('a', 'b', 'a%20b', '');
  const path = fc.array(segment, { maxLength: 3 }).map((parts) => `/${parts.join('/')}`);
  const prefix = fc.constantFrom('/', '/x', '/x/y');
  const base = fc.constantFrom('', '/a', '/a/b');
  fc.assert(
    fc.property(
      prefix,
      base,
      path,
      fc.constantFrom('', ORIGIN),
      fc.constantFrom('', '?q=1'),
      (match, up, rest, by, query) => {
        const reference = `${by}${up}${rest}${query}`;
        const route = routeOf('r', { path: match }, { path: up });
        const request = match === '/' ? '/sse' : `${match}/sse`;
        // Two slashes begin a host, which may be malformed.
        if (reference.startsWith('//')) return;
        const back = turned(match, up, request, reference);
        if (URL.canParse(back)) return;
        const target = parseRequestTarget(back, ['h']);
        assert.equal(target.path === match || target.path?.startsWith(match === '/' ? '/' : `${match}/`), true, back);
        // The root of a route for all paths is the upstream's path without a slash.
        const plain = (url: URL) => url.href.replace(/\/(?=\?|$)/, '');
        const reached = new URL(ORIGIN + upstreamPath(route, target));
        assert.equal(plain(reached), plain(new URL(reference, `${ORIGIN}/`)), back);
      },
    ),
    { numRuns: 2000 },
  );
});

test('no reference leads the caller to another route', () => {
  const others = ['/b', '/a/b', '/'].map((path) => routeOf(path, { path }, { origin: 'https://other.example.com' }));
  const part = fc.constantFrom(
    ...words('/ // \\\\ .. %2e%2e %2f . a b h http: https:// h:8080 h:80 10.0.0.1:8080 localhost:8080'),
    ...words('backend.example.com mcp @ : ? # ; [ ]'),
    ...['\t', '\n', ' ', '\u3002', '\uff0f'],
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 9 }), (parts) => {
      let reference: string;
      try {
        reference = turned('/a', '/mcp', '/a/x', parts.join(''), others);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ERR_CROSS_ROUTE_REFERENCE');
        return;
      }
      if (!/^https?:/.test(new URL(reference, 'http://h').protocol)) return;
      // Nothing that clients read differently.
      assert.match(reference, /^(?:[!-[\]-~]*$|[!-[\]-~]*[?#][!-~]*$)/);
      for (const client of ['http://h/a/x', 'http://localhost:8080/a/x', 'http://10.0.0.1:8080/a/x']) {
        const { host, pathname } = new URL(reference, client);
        const isCambist = ['h', 'localhost:8080', '10.0.0.1:8080'].includes(host);
        if (isCambist) assert.match(pathname, /^\/a(?:\/(?!b(?:\/|$))|$)/, `${parts.join('')} → ${reference}`);
      }
    }),
    { numRuns: 20_000 },
  );
});
