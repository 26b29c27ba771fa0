import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metadataUrl, resourceMetadata } from '../../../src/proxy/resource-metadata.ts';
import { describedResource, parseRequestTarget } from '../../../src/routing/request-target.ts';
import { routeOf, SERVER } from '../config/sample.ts';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';

const UPSTREAM = 'upstream: https://g.example.com\n';
const exchange = routeOf(UPSTREAM);
const WITHOUT_ISSUER = SERVER.replace(/issuer: .*/, 'token_endpoint: https://bare.example.com/token');
const bare = routeOf(UPSTREAM, WITHOUT_ISSUER);
const credentialHeaders = new Set(['authorization', 'x-user-token']);
const client = (host: string, url = '/', ...more: string[]) => {
  return { url, rawHeaders: ['Host', host, ...more], credentialHeaders };
};

test('reads the resource from the path after the well-known prefix, in whole segments', () => {
  const described = (url: string) => describedResource(parseRequestTarget(url, ['h']))?.path;
  assert.equal(described(`${WELL_KNOWN}/github/mcp?x`), '/github/mcp');
  assert.equal(described(WELL_KNOWN), '/');
  assert.equal(described(`${WELL_KNOWN}/`), '/');
  for (const url of [`${WELL_KNOWN}x/github`, '/github', `/x${WELL_KNOWN}`, `${WELL_KNOWN}/../github`]) {
    assert.equal(described(url), undefined, url);
  }
});

test('names the URL that the client used', () => {
  for (const [path, from, url] of [
    ['/github', client('127.0.0.1:8180'), 'http://127.0.0.1:8180/github'],
    ['/', client('h'), 'http://h'],
    ['/github/', client('h'), 'http://h/github/'],
    ['/mcp', client('ignored', 'http://GitHub.tools.svc/x'), 'http://github.tools.svc/mcp'],
    ['/mcp', client('h', '/', 'X-Forwarded-Proto', 'https'), 'https://h/mcp'],
    ['/mcp', client('[::1]:80'), 'http://[::1]:80/mcp'],
  ] as const) {
    assert.equal(JSON.parse(resourceMetadata([exchange], path, from) ?? '{}').resource, url);
  }
});

test('lists each issuer of several routes once', () => {
  const other = routeOf(`${UPSTREAM}credential: client_credentials\n`);
  const metadata = resourceMetadata([bare, exchange, other], '/x', client('h')) ?? '';
  assert.deepEqual(JSON.parse(metadata).authorization_servers, ['https://idp.example.com/realms/agents']);
});

test('returns no metadata without a known issuer or a usable host', () => {
  assert.equal(resourceMetadata([bare], '/x', client('h')), undefined);
  assert.equal(metadataUrl(bare, '/x', client('h')), undefined);
  assert.equal(metadataUrl(routeOf(`${UPSTREAM}credential: none\n`), '/x', client('h')), undefined);
  for (const host of ['h"', 'h" evil="1', 'a b', 'user@h', 'h/x', 'h:80:80', '', `${'x'.repeat(254)}`, 'h\\']) {
    assert.equal(metadataUrl(exchange, '/github', client(host)), undefined, host);
  }
  assert.equal(metadataUrl(exchange, '/github', client('a', '/', 'Host', 'a')), undefined);
  assert.equal(metadataUrl(exchange, '/github', { url: '/', rawHeaders: [], credentialHeaders }), undefined);
});

test('returns a metadata URL only if it is safe in a quoted string', () => {
  assert.equal(metadataUrl(exchange, '/github/x', client('h:1')), `http://h:1${WELL_KNOWN}/github/x`);
  assert.equal(metadataUrl(exchange, '/', client('h:1')), `http://h:1${WELL_KNOWN}`);
  for (const path of ['/a"b', '/a\\b', '/a b', '/\xe4', '/a<b', `/${'a'.repeat(1024)}`, undefined]) {
    assert.equal(metadataUrl(exchange, path, client('h')), undefined, path);
  }
});

test('never repeats a token of the caller in the metadata URL', () => {
  const token = 'callers-own-token';
  for (const header of [
    ['Authorization', `Bearer ${token}`],
    ['X-User-Token', token],
  ]) {
    const from = client('h', '/', ...header);
    for (const path of [`/github/${token}`, `/github/${token.replace('c', '%63')}`]) {
      assert.equal(metadataUrl(exchange, path, from), undefined);
      assert.equal(resourceMetadata([exchange], path, from), undefined);
    }
    assert.notEqual(metadataUrl(exchange, '/github/x', from), undefined);
    assert.equal(metadataUrl(exchange, '/github/x', client(token, '/', ...header)), undefined);
  }
});
