import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf, ROUTE, SERVER } from './sample.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const VERIFY = `verify: { issuer: ${ISSUER}, audience: agent }`;
const BASE = `listen: 0.0.0.0:8080, agent: 'http://127.0.0.1:8081', ${VERIFY}`;

const fileOf = (keys: string, top = '') => `version: 1\n${top}${SERVER}${ROUTE}inbound: { ${keys} }\n`;
const messages = (keys: string, top = ''): string[] =>
  problemsOf(fileOf(keys, top)).map((problem) => problem.replace(/^\d+:\d+: /, ''));

test('reads all keys', () => {
  const more =
    "open: [/healthz, '/docs/*'], claims: { X-User-Id: sub }, allow_raw_tokens: true, baggage: false, detached: allow";
  assert.deepEqual(configOf(fileOf(`${BASE}, ${more}`)).inbound, {
    listen: { kind: 'tcp', host: '0.0.0.0', port: 8080 },
    agent: { origin: 'http://127.0.0.1:8081', host: '127.0.0.1:8081', path: '' },
    verify: { issuer: ISSUER, audience: ['agent'], jwksUri: undefined, ca: undefined, allowInsecureHttp: false },
    open: [
      { path: '/healthz', isPrefix: false },
      { path: '/docs/', isPrefix: true },
    ],
    claims: [['x-user-id', 'sub']],
    allowRawTokens: true,
    baggage: false,
    detached: 'allow',
  });
  const { allowRawTokens, baggage, detached } = configOf(fileOf(BASE)).inbound ?? {};
  assert.deepEqual([allowRawTokens, baggage, detached], [false, true, 'refuse']);
});

test('reads an agent on a Unix socket, and takes the CA of the server with the same issuer', () => {
  const server = SERVER.replace('    client_id', '    tls: { ca: { file: /ca.pem } }\n    client_id');
  const keys = BASE.replace("'http://127.0.0.1:8081'", "'unix:/run/agent.sock'");
  const { inbound } = configOf(`version: 1\n${server}${ROUTE}inbound: { ${keys} }\n`);
  assert.equal(inbound?.agent.socketPath, '/run/agent.sock');
  assert.equal(inbound?.verify.ca, '/ca.pem');
});

test('requires listen, agent and verify with an audience', () => {
  const missing = messages('open: []').join('\n');
  for (const key of ['listen', 'agent', 'verify']) assert.match(missing, new RegExp(`missing key "${key}"`));
  assert.match(messages(BASE.replace(', audience: agent', '')).join(), /missing key "audience"/);
  for (const audience of ['any', '[agent, any]']) {
    assert.deepEqual(messages(BASE.replace('audience: agent', `audience: ${audience}`)), [
      'inbound.verify.audience: must name the agent: "any" would accept tokens for every other service',
    ]);
  }
  assert.match(messages(BASE.replace('audience: agent', 'audience: []')).join(), /must not be empty/);
});

test('refuses an address with another use, and an agent that is cambist itself', () => {
  const listening = (address: string) => messages(BASE.replace('0.0.0.0:8080', address));
  assert.deepEqual(listening('127.0.0.1:8180'), ['inbound.listen: has the same address as listen: change one']);
  assert.deepEqual(listening('127.0.0.1:9180'), ['inbound.listen: has the same address as admin: change one']);
  for (const [port, key] of [
    [8180, 'listen'],
    [9180, 'admin'],
    [8080, 'inbound.listen'],
  ] as const) {
    assert.deepEqual(messages(BASE.replace('127.0.0.1:8081', `127.0.0.1:${port}`)), [
      `inbound.agent: is the address of ${key}, so requests would loop: set the address of the agent`,
    ]);
  }
});

test('refuses an agent with TLS, a path or another scheme, and warns of one that is elsewhere', () => {
  const agent = (url: string) => messages(BASE.replace('http://127.0.0.1:8081', url));
  for (const url of ['https://127.0.0.1:8081', 'tcp://127.0.0.1:1', '127.0.0.1:8081']) {
    assert.deepEqual(agent(url), ['inbound.agent: must be http://host:port or unix:/path']);
  }
  assert.match(agent('http://127.0.0.1:8081/api').join(), /must have no path/);
  assert.match(agent('http://agent.agents.svc:8081').join(), /^warning: inbound\.agent: is not loopback/);
});

test('refuses open paths that servers read differently, and warns of one that opens everything', () => {
  const open = (path: string) => messages(`${BASE}, open: ['${path}']`).join();
  for (const path of ['healthz', '/a%20b', '/a;b', '//a', '/a/../b', '/*/b', '/a?b', '/a#b', '/a\\b']) {
    assert.match(open(path), /^inbound\.open\[0\]: /, path);
  }
  assert.match(open('/*'), /^warning: inbound\.open\[0\]: opens every path/);
});

test('refuses claim headers that HTTP or cambist needs, and two spellings of one header', () => {
  const claims = (keys: string) => messages(`${BASE}, claims: { ${keys} }`).join();
  for (const header of [
    'Authorization',
    'baggage',
    'Host',
    'content-length',
    'x-request-id',
    'cookie',
    'x_request_id',
  ]) {
    assert.match(claims(`${header}: sub`), /^inbound\.claims/, header);
  }
  assert.match(claims('x-user: sub, X_User: email'), /names the same header as an earlier key/);
});

test('warns if a handle in baggage could name a caller whose request is over', () => {
  assert.match(messages(`${BASE}, detached: allow`).join(), /^warning: inbound\.detached: with baggage, /);
  for (const keys of ['detached: allow, baggage: false', 'detached: refuse', 'baggage: false']) {
    assert.deepEqual(messages(`${BASE}, ${keys}`), []);
  }
});

test('warns if a call whose handle the agent loses gets the token of cambist itself', () => {
  const [own, ...others] = problemsOf(
    fileOf(BASE).replace('inbound:', '    on_missing_subject: client_credentials\ninbound:'),
  );
  assert.match(own ?? '', /warning: routes\[0\]\.on_missing_subject: with inbound, a call whose handle /);
  assert.deepEqual(others, []);
  const listing =
    '    match: { path: /github, mcp_method: [initialize, tools/list] }\n    on_missing_subject: client_credentials\n';
  assert.deepEqual(problemsOf(fileOf(BASE).replace('    match: { path: /github }\n', listing)), []);
});

test('warns if hosts outside the pod could use handles', () => {
  assert.deepEqual(messages(BASE, 'listen: 0.0.0.0:8180\n'), [
    'warning: inbound: handles work for every host that reaches listen: set listen to loopback or to a Unix socket',
  ]);
  for (const listen of ['unix:/run/cambist.sock', 'localhost:8180', '"[::1]:8180"']) {
    assert.deepEqual(messages(BASE, `listen: ${listen}\n`), []);
  }
});
