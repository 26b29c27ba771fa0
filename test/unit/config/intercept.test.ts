import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf } from './sample.ts';

/** A config with a route for a host, and these lines. */
function withIntercept(lines: string, host = 'host: mcp.example.com'): string {
  const route = `{ name: mcp, match: { path: /, ${host} }, upstream: "https://mcp.example.com", credential: none }`;
  return `version: 1\n${lines}\nroutes:\n  - ${route}\n`;
}

test('intercepts nothing by default', () => {
  assert.equal(configOf(withIntercept('')).intercept, undefined);
});

test('reads the authority and the trust folder, relative to the folder of the config', () => {
  for (const [lines, ca, trustDir] of [
    ['intercept: {}', { kind: 'ephemeral' }, '/run/cambist/trust'],
    ['intercept: { ca: ephemeral, trust_dir: trust }', { kind: 'ephemeral' }, 'trust'],
    ['intercept: { ca: { dir: /run/cambist/ca } }', { kind: 'dir', dir: '/run/cambist/ca' }, '/run/cambist/trust'],
    [
      'intercept: { ca: { certificate: { file: ca.crt }, private_key: { file: /k/ca.key } } }',
      { kind: 'files', certificate: 'ca.crt', privateKey: '/k/ca.key' },
      '/run/cambist/trust',
    ],
  ] as const) {
    assert.deepEqual(configOf(withIntercept(lines)).intercept, { ca, trustDir, listen: [] }, lines);
  }
});

for (const [lines, problem] of [
  ['intercept: { ca: corporate }', /intercept\.ca: must be ephemeral, \{ dir: \/path \}, or/],
  ['intercept: { ca: { certificate: { file: a } } }', /intercept\.ca/],
  ['intercept: { ca: { dir: "" } }', /intercept\.ca/],
  ['intercept: { trust_dir: 7 }', /intercept\.trust_dir/],
  ['intercept: { trust: x }', /unknown key "trust"/],
  ['intercept: { ca: { dir: /run/x/ca }, trust_dir: /run/x }', /trust_dir: contains the folder of the private key/],
  ['intercept: { ca: { dir: /run/x }, trust_dir: /run/x }', /trust_dir: contains the folder of the private key/],
  ['intercept: { listen: [unix:/run/x.sock] }', /listen\[0\]: must be host:port: names and packets/],
  ['intercept: { listen: ["127.0.0.1:8180"] }', /listen\[0\]: is also the address of listen: change one/],
  ['intercept: { listen: ["0.0.0.0:9180"] }', /listen\[0\]: is also the address of admin: change one/],
  ['intercept: { listen: ["127.0.0.1:443", "0.0.0.0:443"] }', /listen\[1\]: is in the list twice/],
  ['intercept: { listen: ["443"] }', /listen\[0\]: must be host:port/],
  ['listen: unix:/run/c.sock\nintercept: {}', /warning: intercept: has no effect: listen is a Unix socket/],
] as const) {
  test(`reports ${JSON.stringify(lines)}`, () => {
    const problems = problemsOf(withIntercept(lines));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', problem);
  });
}

test('reads where connections arrive that were not sent to a proxy', () => {
  const { intercept } = configOf(withIntercept('intercept: { listen: ["127.0.0.1:443", "[::1]:443"] }'));
  assert.deepEqual(intercept?.listen, [
    { kind: 'tcp', host: '127.0.0.1', port: 443 },
    { kind: 'tcp', host: '::1', port: 443 },
  ]);
});

test('warns where no route has a host', () => {
  const [problem] = problemsOf(withIntercept('intercept: {}', 'methods: [GET]'));
  assert.match(problem ?? '', /warning: intercept: has no effect: no route has match\.host/);
});
