import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowedTunnel, readAuthority } from '../../../src/proxy/connect-authority.ts';

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
  test(`allows ${target} by ${entry}`, () => {
    const authority = readAuthority(target);
    assert.ok(authority !== undefined);
    assert.deepEqual(allowedTunnel(ENTRIES, authority), { entry, host });
  });
}

for (const target of [
  ...['api.example.com:444', 'openai.com:443', 'evilopenai.com:443', 'x.openai.com:8444', 'elsewhere.example.com:443'],
  ...[
    '.openai.com:443',
    'x.openai.com.example.org:443',
    'evilapi.example.com:443',
    'x.example.net:443',
    '10.0.0.9:443',
  ],
  ...[
    '10.0.0.1:8443',
    '[::1]:8443',
    '[::ffff:10.0.0.1]:8443',
    '167772161:8443',
    '0xa.1:8443',
    '10.1:8443',
    '012.0.0.1:8443',
  ],
  ...['localhost:8443', 'x.svc:8443', 'x.local:8443', 'mcp:8443', 'a..b.com:8443', 'a.com..:8443', '-a.com:8443'],
]) {
  test(`allows no tunnel to ${target}`, () => {
    const authority = readAuthority(target);
    assert.ok(authority !== undefined);
    assert.equal(allowedTunnel(ENTRIES, authority), undefined);
  });
}
