import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearest } from '../../../src/documents/nearest.ts';
import { assertProblems, problemsOf, problemsOfChange, SERVER, VALID } from '../config/sample.ts';

test('reports no problems of a valid config', () => {
  assert.deepEqual(problemsOf(VALID), []);
});

test('reports an unknown or missing key, and suggests the nearest', () => {
  const table = `
listn: x:1
→ 13:1: unknown key "listn": did you mean "listen"?
log: { file: x }
→ 13:8: log: unknown key "file": known keys are level, sample
listen: { adress: 127.0.0.1:1 }
→ 13:11: listen: unknown key "adress": did you mean "address"?
upstream: => upsteam:
→ 12:5: routes[0]: unknown key "upsteam": did you mean "upstream"?
issuer: => isuer:
→ 4:5: authorization_servers.main: unknown key "isuer": did you mean "issuer"?
defaults: { scopes: x, timeouts: { conect: 1s, idle: 1s } }
→ 13:13: defaults: unknown key "scopes": did you mean "scope"?
→ 13:36: defaults.timeouts: unknown key "conect": did you mean "connect"?
→ 13:48: defaults.timeouts: unknown key "idle": known keys are connect, response_headers, stall
cache: { shared: { url: 'redis://localhost' } }
→ 13:18: cache.shared: missing key "key": add it (secrets that all replicas share)`;
  assertProblems(table, problemsOfChange);
  assert.deepEqual(problemsOf(`version: 1\n${SERVER}routes:\n  - {}\n`), [
    '10:5: routes[0]: missing key "name": add it (name of the route, for metrics and logs)',
    '10:5: routes[0]: missing key "match": add it (requests for this route: a host, a path, or both, and further conditions)',
    '10:5: routes[0]: missing key "upstream": add it (URL of the backend)',
  ]);
  assert.deepEqual(problemsOf(`log: {}\n`), [
    '1:1: missing key "version": add it (always 1, the format of the file)',
    '1:1: missing key "routes": add it (backends, in any order)',
  ]);
});

test('names a wrong key of a map that has another form as well', () => {
  // The key of cache.shared.key could be the secret itself.
  const table = `
agents: { token: { heeder: x, issuer: 'https://k', audience: c }, known: { a: { subject: a } } }
→ 13:20: agents.token: unknown key "heeder": did you mean "header"?
agents: { token: [{ heeder: x, issuer: 'https://k', audience: c }], known: { a: { subject: a } } }
→ 13:21: agents.token[0]: unknown key "heeder": did you mean "header"?
agents: { token: x, known: { a: { subject: a } } }
→ 13:18: agents.token: must be a map with header, issuer and audience, or a list of such maps
listen: { address: 127.0.0.1:1, tls: { certificate: { file: ./a }, key: { file: ./b } } }
→ 13:38: listen.tls: missing key "private_key": add it (private key of \`certificate\`)
→ 13:68: listen.tls: unknown key "key": known keys are certificate, private_key, client_ca, client_certificate
listen: { address: 127.0.0.1:1, tls: true }
→ 13:38: listen.tls: must be spiffe, or { certificate: { file: … }, private_key: { file: … } }
defaults: { expect_audience: { one_of: a } }
→ 13:30: defaults.expect_audience: missing key "only": add it
→ 13:32: defaults.expect_audience: unknown key "one_of": known keys are only
intercept: { ca: { certificates: { file: ./a } } }
→ 13:18: intercept.ca: must be ephemeral, { dir: /path }, or { certificate: { file: … }, private_key: { file: … } }
cache: { shared: { url: 'redis://localhost', key: { fill: a } } }
→ 13:53: cache.shared.key: unknown key: did you mean "file"?`;
  assertProblems(table, (line) => problemsOf(VALID + line).filter((each) => !each.includes(': warning: ')));
});

test('reports a value of the wrong type with the right type', () => {
  const table = `
log: info
→ 13:6: log: must be a map ("key: value")
log:
→ 13:1: log: has no value: write one, or remove the key
cache: { max_entries: many }
→ 13:23: cache.max_entries: must be a whole number
cache: { max_entries: 1.5 }
→ 13:23: cache.max_entries: must be a whole number
cache: { max_entries: 0 }
→ 13:23: cache.max_entries: must be at least 1
cache: { max_entries: 10000000 }
→ 13:23: cache.max_entries: must be at most 1000000
listen: 8180
→ 13:9: listen: must be host:port, as in 127.0.0.1:8180, [::1]:8180 or 0.0.0.0:8180, or unix:/path
listen: ''
→ 13:9: listen: must not be empty
log: { level: warning }
→ 13:15: log.level: must be one of silent, fatal, error, warn, info, debug, trace
log: { level: inof }
→ 13:15: log.level: must be one of silent, fatal, error, warn, info, debug, trace: did you mean "info"?
cache: { max_age: 5 }
→ 13:19: cache.max_age: must be a duration with a unit, as in 250ms, 5s, 5m or 1h
limits: { max_header_size: 32kb }
→ 13:28: limits.max_header_size: must be a size, as in 64KiB, 1MiB, or a whole number of bytes
host_header: 'x-host:'
→ 13:14: host_header: must be the name of a header, without ":" and spaces
defaults: { authorization_server: 7, allow_insecure_http: 1, audience: 5 }
→ 13:35: defaults.authorization_server: must be a string: put it in quotes
→ 13:59: defaults.allow_insecure_http: must be true or false
→ 13:72: defaults.audience: must be a string or a list of strings
defaults: { authorization_server: [main], scope: [read, write], audience: [a, ''] }
→ 13:35: defaults.authorization_server: must be a single string
→ 13:50: defaults.scope: must be one string, with a space between scopes
→ 13:79: defaults.audience[1]: must not be empty
defaults: { requested_token_type: opaque }
→ 13:35: defaults.requested_token_type: must be one of access_token, refresh_token, id_token, saml1, saml2, jwt, id-jag, or a full URN
defaults: { scope: 'a"b' }
→ 13:20: defaults.scope: contains a character that is not allowed in a scope: use printable ASCII without quotes and backslashes
version: 1 => version: 2
→ 1:10: version: must be 1
version: 1 => version: "1"
→ 1:10: version: must be 1, without quotes`;
  assertProblems(table, problemsOfChange);
  assert.deepEqual(problemsOf(`version: 1\n${SERVER}routes: {}\n`), ['9:9: routes: must be a list ("- …")']);
  assert.deepEqual(problemsOf(`version: 1\n${SERVER}routes: []\n`), ['9:9: routes: must not be empty']);
  assert.deepEqual(problemsOf(`${VALID}  - docs\n`), ['13:5: routes[1]: must be a map ("key: value")']);
});

test('refuses invalid names', () => {
  const bad = 'must consist of lower-case letters, digits and hyphens, and start and end with a letter or digit';
  for (const name of ['GitHub', '-a', 'a-', 'a_b', "''"]) {
    assert.deepEqual(problemsOf(VALID.replace('name: github', `name: ${name}`)), [`10:11: routes[0].name: ${bad}`]);
  }
  assert.deepEqual(problemsOf(VALID.replace('name: github', `name: ${'a'.repeat(64)}`)), [
    '10:11: routes[0].name: must be at most 63 characters long',
  ]);
  assert.deepEqual(problemsOf(VALID.replace('main:', 'the main one:')), [
    '3:3: authorization_servers: the name of an authorization server must consist of letters, digits, ".", "_" and "-", at most 63',
    '10:5: routes[0]: credential "exchange" needs an authorization server: define one under authorization_servers, or set credential: none',
  ]);
});

test('reports problems in all places', () => {
  const text = `version: 3
listen: nowhere
authorization_servers:
  main: { token_endpoint: "ftp://x", client_auth: { method: non } }
routes:
  - name: a
    match: { host: "x:80" }
    upstream: 7
    scope: 'a"b'
  - 5
  - name: a
    match: { path: x }
    upstream: https://x/../y
    credential: none
    retry: 1
`;
  assert.deepEqual(
    problemsOf(text).map((problem) => problem.split(': ').slice(0, 2).join(': ')),
    [
      '1:10: version',
      '2:9: listen',
      '4:27: authorization_servers.main.token_endpoint',
      '4:61: authorization_servers.main.client_auth.method',
      '7:20: routes[0].match.host',
      '8:15: routes[0].upstream',
      '9:12: routes[0].scope',
      '10:5: routes[1]',
      '11:11: routes[2].name',
      '12:20: routes[2].match.path',
      '13:15: routes[2].upstream',
      '15:5: routes[2]',
    ],
  );
});

test('quotes a key with unusual characters in a path', () => {
  assert.match(
    problemsOf(VALID.replace('main:', 'a.b:').replace('cambist\n', '5\n'))[0] ?? '',
    /^5:16: authorization_servers\["a\.b"\]\.client_id: must be a string/,
  );
});

test('refuses a header with two roles, or that is reserved for HTTP', () => {
  const table = `
host_header: mcp-session-id
→ 13:14: host_header: is also the session header: use another header
host_header: Authorization
→ 13:14: host_header: is already the subject token header: use another header
session: { header: authorization }
→ 13:20: session.header: is already the subject token header: use another header
defaults: { subject_token: { header: Mcp-Session-Id } }
→ 13:38: defaults.subject_token.header: is also the session header: use another header
    subject_token: { header: x-a }\\nhost_header: X-A
→ 13:30: routes[0].subject_token.header: is also the host header: use another header
    subject_token: { header: Host }\\nsession: { header: TE }
→ 13:30: routes[0].subject_token.header: "host" is reserved for HTTP itself: use another header
→ 14:20: session.header: "te" is reserved for HTTP itself: use another header
host_header: Connection
→ 13:14: host_header: "connection" is reserved for HTTP itself: use another header`;
  assertProblems(table, (lines) => problemsOf(VALID + lines));
});

const KEYS = ['upstream', 'match', 'name', 'scope', 'resource', 'timeouts', 'authorization_server'];

test('finds the name behind a typing error', () => {
  const cases: [string, string | undefined][] = [
    ['upsteam', 'upstream'],
    ['Upstream', 'upstream'],
    ['up-stream', 'upstream'],
    ['scpoe', 'scope'],
    ['resources', 'resource'],
    ['timeout', 'timeouts'],
    ['authorization-server', 'authorization_server'],
    ['nmae', 'name'],
    ['verify', undefined],
    ['', undefined],
    ['x'.repeat(1000), undefined],
  ];
  for (const [written, meant] of cases) assert.equal(nearest(written, KEYS), meant, written);
});

test('suggests nothing for a common prefix of several names, or if no names are known', () => {
  const methods = ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt'];
  assert.equal(nearest('client_secret', methods), undefined);
  assert.equal(nearest('private_key', methods), 'private_key_jwt');
  assert.equal(nearest('upstream', []), undefined);
});
