import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatProblem } from '../../../src/documents/config-node.ts';
import { configOf, problemsOf, ROUTE, VALID } from '../config/sample.ts';

const CONTINUES =
  'this text continues on the next line, which contains a key: add the missing ":", comma or quote here, or indent that key like the other keys of its map';

test('reports syntax errors with their position, without quoting the source', () => {
  const cases: [string, string][] = [
    ['', '1:1: the file is empty: start from config/cambist.yaml'],
    ['# only a comment\n', '1:1: the file is empty: start from config/cambist.yaml'],
    ['- a', '1:1: must be a map that starts with "version: 1"'],
    ['secret', '1:1: must be a map that starts with "version: 1"'],
    ['version: 1\nversion: 1', '2:1: duplicate key in this map: remove one'],
    ['{"version": 1, "log": {"level": "info", "level": "warn"}}', '1:41: duplicate key in this map: remove one'],
    ['version: 1\n---\nversion: 1', '2:1: second document in the file: remove "---" and everything after it'],
    ['version: *x', '1:10: unknown alias ("*…"): define its anchor first, or put the value in quotes'],
    ['version: !!binary x', '1:10: unknown tag ("!…"): remove it'],
    ['? [a]\n: 1', '1:3: a key cannot be a list or a map: write a plain word'],
    ['__proto__: 1', '1:1: invalid key: write a plain word'],
    ['{log: {level: info}', '1:20: missing bracket, quote, comma or space here or just before, or wrong indentation'],
    [
      'log: {level: info',
      '1:18: wrong indentation, or a bracket that is not closed: keys of one map start in the same column, and their values are indented further',
    ],
    ['version: 1\nlisten:127.0.0.1:8180\nroutes: []\n', '2:1: missing space after the ":" of this key'],
    ['version: 1\nlisten:127.0.0.1:8180\n', '2:1: missing space after the ":" of this key'],
    ['routes:\n  - name:a\n    credential: none\n', '2:5: missing space after the ":" of this key'],
    ['{\n  "version": 1\n  "log": {}\n}', `2:14: ${CONTINUES}`],
    ['{\n  "admin": "a:1,\n  "log": {}\n}', `2:12: ${CONTINUES}`],
    ['log: { level: info\n  sample: 1 }', `1:15: ${CONTINUES}`],
    ['log: @x', '1:6: a value cannot start with this character: put it in quotes'],
    [
      'log: a: b',
      '1:6: a map cannot start within a line: put a value that contains ": " in quotes, or start the map on its own line',
    ],
    ['log: "\\q"', '1:7: invalid escape sequence: double the backslash, or use single quotes'],
    [']', '1:1: unexpected character: check the brackets, quotes and indentation around it'],
    ['&a &b x', '1:4: not valid YAML or JSON: check the brackets, quotes and indentation around it'],
  ];
  for (const [text, problem] of cases) assert.deepEqual(problemsOf(text), [problem], text);
});

const VARIABLE =
  'variable in braces: cambist replaces no variables, and within { } or [ ] this is not valid YAML: after "env", write the bare name, as in { env: NAME }; put any other value in quotes';

/** A variable as a shell writes it. */
function variable(name: string): string {
  return `$\{${name}}`;
}

test('reports a variable in braces, however many there are', () => {
  const server = `authorization_servers: { main: { issuer: ${variable('ISSUER')}, client_id: ${variable('ID')} } }\n`;
  assert.deepEqual(problemsOf(`version: 1\n${server}${ROUTE}`), [`2:43: ${VARIABLE}`]);
  const routes = `  - { name: a, upstream: ${variable('UPSTREAM')} }\n`.repeat(200);
  assert.deepEqual(problemsOf(`version: 1\nroutes:\n${routes}`), [`3:27: ${VARIABLE}`]);
});

test('reports the first tab in an indentation', () => {
  for (const [text, place] of [
    ['version: 1\nlog:\n\tlevel: "info\n', '3:1'],
    ['log:\tlevel: info', '1:5'],
    [VALID.replace('    client_id', '\tclient_id'), '5:1'],
    [VALID.replaceAll('    ', '\t\t').replaceAll('\n  ', '\n\t'), '3:1'],
  ] as const) {
    assert.deepEqual(problemsOf(text), [`${place}: tab in place of spaces: indent with spaces`]);
  }
});

for (const [what, line, replacement, problem] of [
  ['too little', '    client_id', '   client_id', /^5:1: .*indentation/],
  ['too much', '    client_id', '     client_id', /^4:13: .*indent/],
  ['too little before a map', '    client_auth', '   client_auth', /^6:1: .*indentation/],
] as const) {
  test(`reports a line that is indented ${what} once`, () => {
    const [first, ...others] = problemsOf(VALID.replace(line, replacement));
    assert.match(first ?? '', problem);
    assert.deepEqual(others, []);
  });
}

test('reports the first of several syntax errors', () => {
  const text = 'version: "\\q"\nlog: !x { level: info }\nroutes:\n  - name: a\n   match: b\n';
  assert.deepEqual(problemsOf(text), ['1:11: invalid escape sequence: double the backslash, or use single quotes']);
});

test('survives any depth of nesting', () => {
  for (const open of ['[', '{a: ', '- ', '? ', '[\n', '{"a":']) {
    const [problem, ...others] = problemsOf(open.repeat(20_000));
    assert.match(problem ?? '', /^1:1: nested more than 100 levels deep/);
    assert.deepEqual(others, []);
  }
});

test('refuses nested aliases before expanding them', () => {
  const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let n = 1; n < 10; n += 1) bomb.push(`a${n}: &a${n} [${`*a${n - 1}, `.repeat(10)}]`);
  assert.deepEqual(problemsOf(bomb.join('\n')), ['1:1: too many aliases ("*…"): write out their values']);
});

test('reports a problem of an aliased value at the anchor, and at each alias', () => {
  const text = VALID.replace('{ path: /github }', '&m { path: github }');
  const wrong = 'must start with "/"';
  assert.deepEqual(problemsOf(`${text}  - { name: b, match: *m, upstream: "https://b" }\n`), [
    `11:23: routes[0].match.path: ${wrong}`,
    `13:23: routes[1].match.path: ${wrong}`,
  ]);
});

test('reports an alias that contains itself', () => {
  const unknown = 'unknown alias ("*…"): define its anchor first, or put the value in quotes';
  assert.deepEqual(problemsOf('version: 1\nroutes: &r [*r]\nadmin_hosts: [*.example.com]'), [
    `2:13: ${unknown}`,
    `3:15: ${unknown}`,
  ]);
});

test('reads a map with many keys in linear time', { timeout: 20_000 }, () => {
  const keys = Array.from({ length: 30_000 }, (_, index) => `  k${index}: x\n`).join('');
  assert.equal(problemsOf(`version: 1\nlog:\n${keys}`).length, 30_001);
});

test('accepts a byte order mark, JSON with tabs, and aliases', () => {
  assert.equal(configOf(`\ufeff${VALID}`).routes.length, 1);
  const json = {
    version: 1,
    routes: [{ name: 'a', match: { path: '/' }, upstream: 'https://x', credential: 'none' }],
  };
  assert.equal(configOf(JSON.stringify(json, null, '\t')).routes.length, 1);
  const shared = `version: 1
routes:
  - { name: a, match: { path: /a }, upstream: "https://a", credential: none, timeouts: &t { connect: 1s } }
  - { name: b, match: { path: /b }, upstream: "https://b", credential: none, timeouts: *t }
`;
  assert.equal(configOf(shared).routes[1]?.timeouts.connectMs, 1000);
});

test('reads YAML 1.1 as 1.2: "yes" stays a word', () => {
  assert.deepEqual(problemsOf(`%YAML 1.1\n---\n${VALID}    allow_insecure_http: yes\n`), [
    '15:26: routes[0].allow_insecure_http: must be true or false',
  ]);
});

const WARNING =
  'contains a variable in braces, which cambist does not replace: write the value itself, or replace the variable before cambist reads the file';

test('warns of a variable in braces, which is not replaced', () => {
  const text = VALID.replace('client_id: cambist', `client_id: ${variable('CLIENT_ID')}`);
  assert.deepEqual(problemsOf(text), [`5:16: warning: authorization_servers.main.client_id: ${WARNING}`]);
  assert.equal(configOf(text).authorizationServers[0]?.clientId, variable('CLIENT_ID'));
  const list = VALID.replace('{ path: /github }', `{ path: /github, mcp_name: [a, "x_${variable('name:-y')}"] }`);
  assert.deepEqual(problemsOf(list), [`11:43: warning: routes[0].match.mcp_name[1]: ${WARNING}`]);
});

test('reports a variable in a URL once, as an error', () => {
  for (const url of [variable('URL'), `https://${variable('HOST')}/mcp`, `https://u:${variable('PASSWORD')}@h/mcp`]) {
    assert.deepEqual(problemsOf(VALID.replace('https://github-mcp.example.com/mcp', url)), [
      `12:15: routes[0].upstream: ${WARNING}`,
    ]);
    assert.deepEqual(problemsOf(VALID.replace(/issuer: .*/, `issuer: '${url}'`)), [
      `4:13: authorization_servers.main.issuer: ${WARNING}`,
    ]);
  }
});

test('reports both the variable and another error that it causes', () => {
  const [error = '', ...more] = problemsOf(VALID.replace('/github }', `'/${variable('PATH')}' }`));
  assert.match(error, /match\.path: contains a character/);
  assert.deepEqual(more, [`11:20: warning: routes[0].match.path: ${WARNING}`]);
});

test('accepts other dollar signs and braces', () => {
  for (const name of ['$x', '{x}', '$1', variable(''), variable('1')]) {
    assert.deepEqual(problemsOf(VALID.replace('{ path: /github }', `{ path: /github, mcp_name: "${name}" }`)), []);
  }
});

test('formats a problem so that an editor can jump to it', () => {
  const place = { file: 'c.yaml', line: 3, column: 7, path: 'routes[0]' };
  const problem = { severity: 'error', message: 'is wrong', ...place } as const;
  assert.equal(formatProblem(problem), 'c.yaml:3:7: routes[0]: is wrong');
  assert.equal(formatProblem({ ...problem, severity: 'warning' }), 'c.yaml:3:7: warning: routes[0]: is wrong');
  assert.equal(formatProblem({ ...problem, path: '' }), 'c.yaml:3:7: is wrong');
  assert.equal(formatProblem({ ...problem, line: 0, column: 0, path: '' }), 'c.yaml: is wrong');
});
