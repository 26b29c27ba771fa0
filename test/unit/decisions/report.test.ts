import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { readReport } from '../../../src/decisions/report.ts';

const incoming = (rawHeaders: string[] = [], method = 'GET') => ({ method, rawHeaders }) as unknown as IncomingMessage;

test('reads the request behind the prefix of ext-authz, byte for byte', () => {
  for (const [url, routeName, rest] of [
    ['/ext-authz/github', 'github', '/'],
    ['/ext-authz/github/', 'github', '/'],
    ['/ext-authz/github/a%2Fb/../c?x=/ext-authz/other', 'github', '/a%2Fb/../c?x=/ext-authz/other'],
    ['/ext-authz/github//a', 'github', '//a'],
    ['/ext-authz/github?a=1', 'github', '/?a=1'],
  ] as const) {
    const report = readReport(incoming([], 'PURGE'), url, true);
    assert.deepEqual([report.routeName, report.url, report.method], [routeName, rest, 'PURGE'], url);
  }
  assert.equal(readReport(incoming(), '/ext-authz/github/a', false).url, '/github/a');
});

test('reads a request from headers, and drops the secret', () => {
  const raw = Object.entries({
    ...{ Host: 'cambist', Authorization: 'Bearer t', 'X-Cambist-Decision-Secret': 'secret' },
    ...{ 'X-Forwarded-Method': 'DELETE', 'X-Forwarded-Uri': '/a?b', 'X-Forwarded-Host': 'a.example.com' },
  }).flat();
  const { method, url, rawHeaders, routeName } = readReport(incoming(raw), '/forward-auth/github', true);
  assert.deepEqual([method, url, routeName], ['DELETE', '/a?b', 'github']);
  assert.deepEqual(rawHeaders.slice(0, 2), ['host', 'a.example.com']);
  assert.equal(rawHeaders.includes('cambist') || rawHeaders.includes('secret'), false);
  assert.ok(rawHeaders.includes('Bearer t'));
});

test('refuses what does not say which request it is about', () => {
  for (const [url, named, raw] of [
    ['/', true, []],
    ['/ext-authz', true, []],
    ['/ext-authz/', true, []],
    ['/ext-authz/../forward-auth/github', true, []],
    ['/ext-authzx/github', true, []],
    ['/forward-auth/github', true, []],
    ['/auth-request/github', true, ['X-Original-URI', '/a']],
    ['/auth-request/github', true, ['X-Original-URI', 'http://docs/a', 'X-Original-Method', 'GET']],
    ['/auth-request/github', true, ['X-Original-URI', '', 'X-Original-Method', 'GET']],
    ['/auth-request/github', true, ['X-Original-URI', '/a', 'X-Original-URI', '/b', 'X-Original-Method', 'GET']],
  ] as const) {
    assert.throws(() => readReport(incoming([...raw]), url, named), { code: 'ERR_ROUTE_NOT_FOUND' }, url);
  }
});
