import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { callerReference } from '../../../src/proxy/caller-reference.ts';
import { parseRequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { routeOf } from '../routing/sample-routes.ts';

const ORIGIN = 'https://backend.example.com';

/** Rewrites a reference of the upstream's response to a request for this path. */
function turned(match: string, upstream: string, request: string, reference: string): string | undefined {
  const route = routeOf('r', { path: match }, { path: upstream });
  const target = parseRequestTarget(request, ['h']);
  return callerReference(reference, { route, upstreamPath: upstreamPath(route, target), callerPath: request });
}

test('leads references under the upstream back through the route and keeps all others', () => {
  for (const [match, upstream, request, reference, expected] of [
    ['/github', '/mcp', '/github/sse', '/mcp/messages?s=1', '/github/messages?s=1'],
    ['/github', '/mcp', '/github/sse', `${ORIGIN}/mcp/messages?s=1#f`, '/github/messages?s=1#f'],
    ['/github', '/mcp', '/github/sse', 'HTTPS://Backend.Example.com:443/mcp/x', '/github/x'],
    ['/github', '/mcp', '/github/sse', '//backend.example.com/mcp/x', '/github/x'],
    ['/github', '/mcp', '/github', '/mcp/', '/github/'],
    ['/github', '/mcp', '/github/', '/mcp', '/github'],
    ['/github', '/mcp', '/github/sse', '/mcpx/messages', undefined],
    ['/github', '/mcp', '/github/sse', '/mcp/../admin', undefined],
    ['/github', '/mcp', '/github/sse', '/mcp/%2e%2e/admin', undefined],
    ['/github', '/mcp', '/github/sse', '/messages', undefined],
    ['/github', '/mcp', '/github/sse', 'https://elsewhere.example.com/mcp/x', undefined],
    ['/github', '/mcp', '/github/sse', 'http://backend.example.com/mcp/x', undefined],
    ['/github', '/mcp', '/github/sse', 'https://user:pass@backend.example.com/mcp/x', undefined],
    ['/github', '/mcp', '/github/sse', 'javascript:alert(1)', undefined],
    ['/github', '/mcp', '/github/sse', 'https://', undefined],
    ['/github', '', '/github/sse', '/messages', '/github/messages'],
    ['/github', '', '/github/sse', '/', '/github/'],
    ['/github', '/', '/github/sse', '/messages', '/github/messages'],
    ['/', '/mcp', '/sse', '/mcp/messages', '/messages'],
    ['/', '/mcp', '/', '/mcp', '/'],
    ['/', '/mcp/', '/sse', '/mcp', '/'],
    ['/mcp', '/mcp', '/mcp/sse', '/mcp/messages', undefined],
    ['/mcp', '/mcp', '/mcp/sse', `${ORIGIN}/mcp/messages`, '/mcp/messages'],
    // The reference is correct without a change.
    ['/github', '/mcp', '/github/sse', 'messages?s=1', undefined],
    ['/github', '/mcp', '/github/sse', '?s=1', undefined],
    ['/github', '/mcp', '/github/sse', '', undefined],
    ['/github', '/mcp', '/github', 'mcp/messages', '/github/messages'],
    // Two slashes would begin a host.
    ['/', '', '/x', `${ORIGIN}//evil.example.com/x`, undefined],
  ] as const) {
    assert.equal(turned(match, upstream, request, reference), expected, `${match} → ${upstream}: ${reference}`);
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
        const back = turned(match, up, request, reference);
        if (back === undefined) return;
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
