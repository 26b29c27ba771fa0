import assert from 'node:assert/strict';
import { test } from 'node:test';
import { words } from '../../harness/words.ts';
import { configOf, messagesOf, problemsOf, ROUTE, SERVER, VALID } from './sample.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const VERIFY = `verify: { issuer: ${ISSUER}, audience: agent }`;
const BASE = `listen: 0.0.0.0:8080, agent: 'http://127.0.0.1:8081', ${VERIFY}`;

const fileOf = (keys: string, top = '') => `version: 1\n${top}${SERVER}${ROUTE}inbound: { ${keys} }\n`;
const messages = (keys: string, top?: string) => messagesOf(fileOf(keys, top));

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
      'inbound.verify.audience: must name at least one audience, and not "any"',
    ]);
  }
  assert.match(messages(BASE.replace('audience: agent', 'audience: []')).join(), /must name at least one audience/);
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
  for (const header of words('Authorization baggage Host content-length x-request-id cookie x_request_id')) {
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
  const text = fileOf(BASE).replace('inbound:', '    on_missing_subject: client_credentials\ninbound:');
  const [own, ...others] = problemsOf(text);
  assert.match(own ?? '', /warning: routes\[0\]\.on_missing_subject: with inbound, a call whose handle /);
  assert.deepEqual(others, []);
});

test('warns if hosts outside the pod could use handles', () => {
  assert.deepEqual(messages(BASE, 'listen: 0.0.0.0:8180\n'), [
    'warning: inbound: handles work for every host that reaches listen: set listen to loopback or to a Unix socket',
  ]);
  for (const listen of ['unix:/run/cambist.sock', 'localhost:8180', '"[::1]:8180"']) {
    assert.deepEqual(messages(BASE, `listen: ${listen}\n`), []);
  }
});

/** A config with a route for a host, and these lines. */
function withIntercept(lines: string, host = 'host: mcp.example.com'): string {
  const route = `{ name: mcp, match: { path: /, ${host} }, upstream: "https://mcp.example.com", credential: none }`;
  return `version: 1\n${lines}\nroutes:\n  - ${route}\n`;
}

const FILES = { kind: 'files', certificate: 'c', privateKey: '/k' };

test('reads the authority and the trust folder, relative to the folder of the config', () => {
  for (const [lines, ca, trustDir] of [
    ['intercept: {}', { kind: 'ephemeral' }, '/run/cambist/trust'],
    ['intercept: { ca: ephemeral, trust_dir: trust }', { kind: 'ephemeral' }, 'trust'],
    ['intercept: { ca: { dir: /run/cambist/ca } }', { kind: 'dir', dir: '/run/cambist/ca' }, '/run/cambist/trust'],
    ['intercept: { ca: { certificate: { file: c }, private_key: { file: /k } } }', FILES, '/run/cambist/trust'],
  ] as const) {
    assert.deepEqual(configOf(withIntercept(lines)).intercept, { ca, trustDir, listen: [] }, lines);
  }
});

for (const [lines, problem, host = 'host: mcp.example.com'] of [
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
  ['intercept: { listen: ["127.0.0.1:443", "0.0.0.0:443"] }', /\[1\]: is also the address of intercept.listen\[0\]/],
  ['intercept: { listen: ["443"] }', /listen\[0\]: must be host:port/],
  ['listen: unix:/run/c.sock\nintercept: {}', /warning: intercept: has no effect: listen is a Unix socket/],
  ['intercept: {}', /warning: intercept: has no effect: no route has match\.host/, 'methods: [GET]'],
] as const) {
  test(`reports ${JSON.stringify(lines)}, with ${host}`, () => {
    const problems = problemsOf(withIntercept(lines, host));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', problem);
  });
}

test('intercepts nothing by default, and reads where connections arrive that were not sent to a proxy', () => {
  assert.equal(configOf(withIntercept('')).intercept, undefined);
  const { intercept } = configOf(withIntercept('intercept: { listen: ["127.0.0.1:443", "[::1]:443"] }'));
  assert.deepEqual(intercept?.listen, [
    { kind: 'tcp', host: '127.0.0.1', port: 443 },
    { kind: 'tcp', host: '::1', port: 443 },
  ]);
});

const auditOf = (lines: string) => configOf(`${VALID}audit: ${lines}\n`).audit;

const problems = (lines: string) => messagesOf(`${VALID}audit: ${lines}\n`);

test('records nothing without the key', () => {
  assert.equal(configOf(VALID).audit, undefined);
  assert.equal(configOf(VALID).tracing.mcp, false);
});

test('reads each destination, and names tools and drops records unless the file says otherwise', () => {
  assert.deepEqual(auditOf('{ to: stdout }'), {
    to: { kind: 'stdout' },
    claims: ['iss', 'sub', 'azp', 'client_id', 'act'],
    tools: true,
    onFull: 'drop',
    pseudonymize: undefined,
  });
  assert.deepEqual(auditOf('{ to: otlp }')?.to, { kind: 'otlp' });
  assert.deepEqual(auditOf('{ to: { file: /var/log/a.jsonl } }')?.to, { kind: 'file', path: '/var/log/a.jsonl' });
});

test('replaces sub, email and preferred_username unless the file lists claims', () => {
  const key = '{ env: AUDIT_KEY }';
  assert.deepEqual(auditOf(`{ to: stdout, pseudonymize: { key: ${key} } }`)?.pseudonymize, {
    key: { env: 'AUDIT_KEY' },
    claims: ['sub', 'email', 'preferred_username'],
  });
  const listed = auditOf(`{ to: stdout, pseudonymize: { key: ${key}, claims: [oid] }, claims: [oid] }`);
  assert.deepEqual(listed?.pseudonymize?.claims, ['oid']);
});

test('refuses an unknown destination and a key in the file', () => {
  for (const to of ['syslog', 'unix:/run/audit.sock']) {
    assert.deepEqual(problems(`{ to: "${to}" }`), ['audit.to: must be stdout, otlp, or { file: /path/of/file }']);
  }
  assert.match(
    problems('{ to: stdout, pseudonymize: { key: secret } }').join(),
    /^audit\.pseudonymize\.key: must not be in the config itself/,
  );
  assert.match(problems('{}').join(), /^audit/);
});

test('warns of pseudonyms for claims that are not recorded', () => {
  assert.deepEqual(problems('{ to: stdout, claims: [oid], pseudonymize: { key: { env: AUDIT_KEY } } }'), [
    'warning: audit.pseudonymize: has no effect: audit.claims records none of these claims',
  ]);
});
