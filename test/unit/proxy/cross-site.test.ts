import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { refuseCrossSite } from '../../../src/proxy/cross-site.ts';
import type { ProxyRequest } from '../../../src/proxy/proxy-request.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { configOf } from '../../harness/app.ts';

const { routes } = configOf({
  routes: [
    {
      name: 'open',
      match: { path: '/open' },
      upstream: 'http://127.0.0.1:1',
      credential: 'none',
      allowed_origins: ['https://app.example.com', 'chrome-extension://abc'],
    },
    { name: 'named', match: { host: 'gw.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' },
    { name: 'wild', match: { host: '*.mcp.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' },
  ],
});
const table = createRouteTable(routes);

/** The reason for refusing a request with these headers, or undefined. */
function reason(headers: Record<string, string | string[]>, url = '/open'): string | undefined {
  const [route] = routes;
  assert.ok(route);
  const rawHeaders = Object.entries(headers).flatMap(([name, value]) => [value].flat().flatMap((line) => [name, line]));
  try {
    const request = { incoming: { rawHeaders }, url, active: { table } } as unknown as ProxyRequest;
    refuseCrossSite({ request, route } as Routed, undefined);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof CambistError && error.code === 'ERR_CROSS_SITE_REQUEST');
    return error.message;
  }
}

const LOCAL = '127.0.0.1:8180';

test('admits requests that no browser sent, by address, localhost or routed name', () => {
  for (const host of [
    LOCAL,
    '[::1]:8180',
    '10.0.0.7',
    'localhost:8180',
    'agent.localhost',
    'GW.example.com:443',
    'github.mcp.example.com',
  ]) {
    assert.equal(reason({ Host: host }), undefined, host);
  }
  assert.equal(reason({}), undefined);
  assert.equal(reason({ Host: 'ignored.example.org' }, 'http://127.0.0.1/open'), undefined);
});

test('refuses a host name that no route has, whatever the other headers say', () => {
  for (const host of [
    'evil.example.org',
    'evil.example.org:8180',
    '127.0.0.1.evil.example.org',
    'mcp.example.com',
    '127.1',
    'cambist',
    'cambist.agents.svc:8180',
    'cambist.agents.svc.cluster.local.',
    'laptop.local',
    'host.docker.internal:8180',
  ]) {
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
