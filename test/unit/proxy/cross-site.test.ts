import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { allowedTunnel, readAuthority } from '../../../src/proxy/connect-authority.ts';
import { assertSameSite } from '../../../src/proxy/cross-site.ts';
import type { ProxyRequest } from '../../../src/proxy/proxy-request.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { configOf } from '../../harness/app.ts';
import { words } from '../../harness/words.ts';

const route = (name: string, match: object, keys: object = {}) => {
  return { name, match, upstream: 'http://127.0.0.1:1', credential: 'none', ...keys };
};
const { routes } = configOf({
  routes: [
    route('open', { path: '/open' }, { allowed_origins: ['https://app.example.com', 'chrome-extension://abc'] }),
    route('named', { host: 'gw.example.com' }),
    route('wild', { host: '*.mcp.example.com' }),
  ],
});
const table = createRouteTable(routes);

/** The reason for refusing a request with these headers, or undefined. */
function reason(headers: Record<string, string | string[]>, url = '/open'): string | undefined {
  const rawHeaders = Object.entries(headers).flatMap(([name, value]) => [value].flat().flatMap((line) => [name, line]));
  try {
    const request = { incoming: { rawHeaders }, url, active: { table } } as unknown as ProxyRequest;
    assertSameSite({ request, route: routes[0] } as Routed, undefined);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof CambistError && error.code === 'ERR_CROSS_SITE_REQUEST');
    return error.message;
  }
}

const LOCAL = '127.0.0.1:8180';

test('admits requests that no browser sent, by address, localhost or routed name', () => {
  for (const host of words(`
    ${LOCAL} [::1]:8180 10.0.0.7 localhost:8180 agent.localhost GW.example.com:443 github.mcp.example.com
  `)) {
    assert.equal(reason({ Host: host }), undefined, host);
  }
  assert.equal(reason({}), undefined);
  assert.equal(reason({ Host: 'ignored.example.org' }, 'http://127.0.0.1/open'), undefined);
});

test('refuses a host name that no route has, whatever the other headers say', () => {
  for (const host of words(`
    evil.example.org evil.example.org:8180 127.0.0.1.evil.example.org mcp.example.com 127.1 cambist
    cambist.agents.svc:8180 cambist.agents.svc.cluster.local. laptop.local host.docker.internal:8180
  `)) {
    for (const headers of [{}, { 'Sec-Fetch-Site': 'same-origin' }, { Origin: `http://${host}` }]) {
      assert.match(reason({ Host: host, ...headers }) ?? '', /name that no match\.host has/, host);
    }
  }
  assert.match(reason({ Host: LOCAL }, 'http://evil.example.org/open') ?? '', /name that no match\.host has/);
});

test('refuses a request that a page of another origin sent', () => {
  for (const headers of [
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
    { 'Sec-Fetch-Site': 'unknown' },
    { 'Sec-Fetch-Site': ['same-origin', 'cross-site'] },
    { 'Sec-Fetch-Site': 'cross-site', Origin: `http://${LOCAL}` },
    { Origin: 'https://evil.example.org' },
    { Origin: 'null' },
    { Origin: '' },
    { Origin: 'http://127.0.0.1:9999' },
    { Origin: 'http://127.0.0.1' },
    { Origin: 'https://app.example.com.evil.example.org' },
    { Origin: 'https://app.example.com:8443' },
    { Origin: ['https://app.example.com', 'https://evil.example.org'] },
    { Origin: [`http://${LOCAL}`, 'https://evil.example.org'] },
  ]) {
    assert.match(reason({ Host: LOCAL, ...headers }) ?? '', /another origin sent it/, JSON.stringify(headers));
  }
});

test('admits pages of the same origin, navigation by the user, and allowed origins', () => {
  for (const headers of [
    { 'Sec-Fetch-Site': 'same-origin', Origin: `http://${LOCAL}` },
    { 'Sec-Fetch-Site': 'same-origin' },
    { 'Sec-Fetch-Site': 'none' },
    { Origin: `http://${LOCAL}` },
    { Origin: 'https://app.example.com' },
    { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://app.example.com' },
    { 'Sec-Fetch-Site': 'cross-site', Origin: 'chrome-extension://abc' },
  ]) {
    assert.equal(reason({ Host: LOCAL, ...headers }), undefined, JSON.stringify(headers));
  }
});

test('reads a host in lower case and a port', () => {
  for (const [target, host, port] of [
    ['MCP.example.com:443', 'mcp.example.com', 443],
    ['mcp.example.com.:0443', 'mcp.example.com', 443],
    ['[::1]:8443', '[::1]', 8443],
  ] as const) {
    assert.deepEqual(readAuthority(target), { host, port });
  }
  for (const target of ['mcp.example.com', ':443', 'a b:1', 'user@a:1', 'a:1:1', '/a:1', 'a:123456']) {
    assert.equal(readAuthority(target), undefined, target);
  }
});

const ENTRIES = [
  ...['api.example.com:443', '10.0.0.1:443', '[::1]:443', '*.openai.com:443', '*.tools.svc:443', '*:8443'],
  ...['*.example.net:4430', '*.0.0.9:443'],
];

const tunnelTo = (target: string) => allowedTunnel(ENTRIES, readAuthority(target) ?? assert.fail(target));

test('allows a tunnel by the entry that names its target', () => {
  for (const [target, entry, host] of [
    ['api.example.com:443', 'api.example.com:443', 'api.example.com'],
    ['10.0.0.1:443', '10.0.0.1:443', '10.0.0.1'],
    ['[::1]:443', '[::1]:443', '::1'],
    ['api.openai.com:443', '*.openai.com:443', 'api.openai.com.'],
    ['a.b.openai.com:443', '*.openai.com:443', 'a.b.openai.com.'],
    ['x.tools.svc:443', '*.tools.svc:443', 'x.tools.svc.'],
    ['anything.example.org:8443', '*:8443', 'anything.example.org.'],
    ['1.2b.example.org:8443', '*:8443', '1.2b.example.org.'],
    ['xn--bcher-kva.example:8443', '*:8443', 'xn--bcher-kva.example.'],
  ] as const) {
    assert.deepEqual(tunnelTo(target), { entry, host });
  }
});

test('allows no tunnel to any other target', () => {
  for (const target of words(`
    api.example.com:444 openai.com:443 evilopenai.com:443 x.openai.com:8444 elsewhere.example.com:443 .openai.com:443
    x.openai.com.example.org:443 evilapi.example.com:443 x.example.net:443 10.0.0.9:443 10.0.0.1:8443 [::1]:8443
    [::ffff:10.0.0.1]:8443 167772161:8443 0xa.1:8443 10.1:8443 012.0.0.1:8443 localhost:8443 x.svc:8443 x.local:8443
    mcp:8443 a..b.com:8443 a.com..:8443 -a.com:8443
  `)) {
    assert.equal(tunnelTo(target), undefined, target);
  }
});
