import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { readHostPattern, readPathPrefix } from '../../../src/config/match.ts';
import { assertProblems, configOf, messagesOf, problemsOf, problemsOfChange, SERVER, VALID } from './sample.ts';

const UPSTREAM = 'upstream: https://x.example.com';

/** A config whose routes have these matches, in flow style. */
function withMatches(...matches: string[]): string {
  const routes = matches.map((match, index) => `  - { name: r${index}, match: { path: /x, ${match} }, ${UPSTREAM} }\n`);
  return `version: 1\n${SERVER}routes:\n${routes.join('')}`;
}

test('reads methods and MCP names, one or many, without duplicates', () => {
  const [route] = configOf(
    withMatches('methods: [GET, POST, GET], mcp_method: tools/call, mcp_name: [a, "b*", a]'),
  ).routes;
  assert.deepEqual(route?.match.conditions, {
    methods: ['GET', 'POST'],
    mcpMethods: ['tools/call'],
    mcpNames: ['a', 'b*'],
  });
  assert.equal(configOf(withMatches('host: h')).routes[0]?.match.conditions, undefined);
});

test('accepts every method that Node parses, except CONNECT and TRACE', () => {
  const parsed = METHODS.filter((method) => method !== 'CONNECT' && method !== 'TRACE');
  const { routes } = configOf(withMatches(`methods: [${parsed.join(', ')}]`));
  assert.deepEqual(routes[0]?.match.conditions?.methods, parsed);
});

test('refuses unknown methods and ambiguous patterns', () => {
  for (const [match, problem] of [
    ['methods: [get]', /match\.methods\[0\]: must be one of GET.*did you mean "GET"/],
    ['methods: [TRACE]', /must be one of/],
    ['methods: []', /match\.methods: must not be empty/],
    ['methods: GET', /match\.methods: must be a list/],
    ['mcp_method: "*/call"', /match\.mcp_method: must be a name, or a prefix followed by "\*"/],
    ['mcp_name: "a*b"', /match\.mcp_name: must be a name/],
    ['mcp_name: "a**"', /match\.mcp_name: must be a name/],
    ['mcp_name: ""', /match\.mcp_name: must be a name/],
    ['mcp_name: [a, "*b"]', /match\.mcp_name\[1\]: must be a name/],
    ['mcp_name: "a\\nb"', /match\.mcp_name: must be a name/],
    ['mcp_name: []', /match\.mcp_name: must not be empty/],
    ['mcp_name: 1', /match\.mcp_name: must be a name or a list of names/],
  ] as const) {
    const problems = problemsOf(withMatches(match));
    assert.equal(problems.length, 1, match);
    assert.match(problems[0] ?? '', problem, match);
  }
});

test('refuses a condition that no request can meet', () => {
  assert.match(problemsOf(withMatches('methods: [GET], mcp_name: a'))[0] ?? '', /match\.methods: lacks POST/);
});

test('refuses a message limit of 0 or above 1MiB, set on the route or in defaults', () => {
  const limited = (match: string, limit: string) =>
    problemsOf(withMatches(match).replace(UPSTREAM, `${UPSTREAM}, retry_body_limit: ${limit}`));
  const refused = /routes\[0\]: .*so its retry_body_limit must be from 1 byte to 1MiB/;
  for (const match of ['mcp_name: a', 'mcp_method: a']) {
    assert.deepEqual(limited(match, '1MiB'), []);
    for (const limit of ['0', '1048577']) assert.match(limited(match, limit)[0] ?? '', refused);
    assert.match(problemsOf(`defaults: { retry_body_limit: 2MiB }\n${withMatches(match)}`)[0] ?? '', refused);
  }
  assert.deepEqual(limited('methods: [GET]', '2MiB'), []);
});

const SAME =
  'routes[1].match: matches the same requests as routes[0].match: change the host, the path or a condition of one';

test('refuses two routes with a combination in common', () => {
  for (const [one, other] of [
    ['mcp_name: a', 'mcp_name: a'],
    ['mcp_name: [a, b]', 'mcp_name: [c, b]'],
    ['methods: [GET, POST]', 'methods: [POST]'],
    ['mcp_name: "a*", mcp_method: [m, n]', 'mcp_name: ["a*"], mcp_method: n'],
  ] as const) {
    assert.deepEqual(messagesOf(withMatches(one, other)), [SAME]);
  }
});

test('allows two routes if one is always more specific', () => {
  const text = withMatches(
    'methods: [POST]',
    'mcp_method: m',
    'mcp_name: a',
    'mcp_name: "a*"',
    'mcp_name: "*"',
    'mcp_name: a, mcp_method: m',
    'mcp_name: a, mcp_method: m, methods: [POST]',
    'host: h, mcp_name: a',
  );
  assert.deepEqual(problemsOf(text), []);
});

test('reads single scopes for step_up, and warns of them without an exchange', () => {
  const withKeys = (keys: string) => withMatches('host: h').replace(UPSTREAM, `${UPSTREAM}, ${keys}`);
  assert.deepEqual(configOf(withKeys('step_up: [repo:write, repo:write, x]')).routes[0]?.stepUp, ['repo:write', 'x']);
  assert.deepEqual(configOf(withKeys('scope: a')).routes[0]?.stepUp, []);
  for (const [keys, problem] of [
    ['step_up: ["a b"]', /step_up\[0\]: must be one scope/],
    ['step_up: a', /step_up: must be a list/],
    ['step_up: [a], credential: client_credentials', /step_up: has no effect with credential "client_credentials"/],
  ] as const) {
    assert.match(problemsOf(withKeys(keys))[0] ?? '', problem);
  }
});

test('refuses http2, which is no longer a key', () => {
  const text = withMatches('host: h').replace(UPSTREAM, `${UPSTREAM}, http2: true`);
  const problem =
    '"http2" is no longer a key: remove it, because cambist speaks HTTP/1.1 to backends, which every MCP server speaks';
  const found = messagesOf(`${text}defaults: { http2: false }\n`);
  assert.deepEqual(found.sort(), [`defaults: ${problem}`, `routes[0]: ${problem}`]);
});

test('requires a port and a host for a tunnel, exact or with a leading wildcard', () => {
  const withTunnels = (list: string) => `${withMatches('host: h')}forward_proxy: { connect: ${list} }\n`;
  assert.deepEqual(configOf(withMatches('host: h')).forwardProxy, { connect: [] });
  assert.deepEqual(configOf(withTunnels('["API.example.com:443", "[::1]:8443", "api.example.com:443"]')).forwardProxy, {
    connect: ['api.example.com:443', '[::1]:8443'],
  });
  assert.deepEqual(configOf(withTunnels('["*.OpenAI.com:443", "*:0443"]')).forwardProxy, {
    connect: ['*.openai.com:443', '*:443'],
  });
  for (const [authority, problem] of [
    ['api.example.com', /connect\[0\]: must be host:port/],
    ['api.example.com:0', /must be host:port/],
    ['api.example.com:65536', /must be host:port/],
    ['https://api.example.com:443', /must be only a host/],
    ['*', /must be host:port/],
    ['a*.example.com:443', /"\*" must be the first label/],
    ['**:443', /"\*" must be the first label/],
    ['user@api.example.com:443', /must be a host name/],
  ] as const) {
    assert.match(problemsOf(withTunnels(`["${authority}"]`))[0] ?? '', problem, authority);
  }
});

/** Compares readings with the value, or with a part of the problem, that the rows name. */
function assertReadings(read: (written: string) => object, kind: 'value' | 'problem', rows: Record<string, string>) {
  for (const [written, expected] of Object.entries(rows)) {
    const { [kind]: found } = read(written) as Record<string, string | undefined>;
    assert.ok(kind === 'value' ? found === expected : found?.includes(expected), `${written}: ${found}`);
  }
}

test('reads a host in lower case, without a trailing dot', () => {
  assertReadings(readHostPattern, 'value', {
    'github-mcp.tools.svc': 'github-mcp.tools.svc',
    'GitHub.Tools.SVC.': 'github.tools.svc',
    '*.Tools.svc': '*.tools.svc',
    docs_mcp: 'docs_mcp',
    '127.0.0.1': '127.0.0.1',
    '[::1]': '[::1]',
    '[0:0:0:0:0:0:0:1]': '[::1]',
  });
});

test('refuses an invalid host', () => {
  assertReadings(readHostPattern, 'problem', {
    'http://x': 'remove the scheme and the path',
    'x/y': 'remove the scheme and the path',
    'x:80': 'must not contain a port',
    '[::1]:80': 'must not contain a port',
    '[::1': 'IPv6 address in brackets',
    '[::1::]': 'IPv6 address in brackets',
    '::1': 'IPv6 in brackets',
    '*': 'to match any host, remove the key',
    'x.*': 'first label',
    '*.*.x': 'first label',
    '*.': 'remove the key',
  });
  for (const host of ['a..b', '-a', 'a b', 'bücher.example', 'user@host', `${'a.'.repeat(127)}a`]) {
    assertReadings(readHostPattern, 'problem', { [host]: 'must be a host name' });
  }
});

test('reads a path as a prefix of whole segments, without a trailing slash', () => {
  for (const path of ['/', '/mcp', '/a/b-c_d~e', '/%C3%A9', '/...', '/github/*']) {
    assertReadings(readPathPrefix, 'value', { [path]: path });
  }
  assertReadings(readPathPrefix, 'value', { '/mcp/': '/mcp' });
});

test('refuses a path that servers may read in two ways', () => {
  for (const [problem, ...paths] of [
    ['must start with "/"', 'mcp'],
    ['must be only a path', '/a?b', '/a#b'],
    ['encoded slash', '/a%2Fb', '/a%5cb', '/a\\b'],
    ['"." or ".."', '/a/../b', '/.', '/%2e%2E/b', '/..;x/b'],
    ['empty segment', '/a//b'],
    ['percent-encode', '/a b', '/é', '/%zz'],
  ] as const) {
    for (const path of paths) assertReadings(readPathPrefix, 'problem', { [path]: problem });
  }
});

test('requires a host or a path, warns of "*" in a path, which is not a wildcard, and refuses a name twice', () => {
  const table = `
{ path: /github } => {}
→ 11:12: routes[0].match: needs a host or a path: write path: / to match all requests
{ path: /github } => { host: 5 }
→ 11:20: routes[0].match.host: must be a string: put it in quotes
{ path: /github } => { path: /github/* }
→ 11:20: warning: routes[0].match.path: contains "*", which is not a wildcard here: a path is a prefix, so remove "*" to match everything below it
  - { name: github, match: { path: /b }, upstream: "https://x" }
→ 13:13: routes[1].name: is also the name of routes[0]: choose another name`;
  assertProblems(table, problemsOfChange);
});

test('refuses two routes that match the same request', () => {
  const second = (match: string) =>
    `${VALID.replace('{ path: /github }', '{ host: A.svc, path: /x }')}  - { name: b, match: ${match}, upstream: "https://x" }\n`;
  assert.deepEqual(problemsOf(second('{ host: a.SVC., path: /x/ }')), [`13:23: ${SAME}`]);
  for (const match of ['{ host: "*.svc", path: /x }', '{ path: /x }', '{ host: a.svc }', '{ host: a.svc, path: /X }']) {
    assert.deepEqual(problemsOf(second(match)), []);
  }
});
