import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findRepair } from '../../../src/config/syntax-repair.ts';
import { problemsOf, ROUTE, VALID } from './sample.ts';

const VARIABLE =
  'variable in braces: cambist replaces no variables, and within { } or [ ] this is not valid YAML: after "env", write the bare name, as in { env: NAME }; put any other value in quotes';
const TAB = 'tab in the indentation: indent with spaces';
const UNKNOWN = 'unknown key "scoep": did you mean "scope"?';

/** A variable as a shell writes it. */
function variable(name: string): string {
  return `$\{${name}}`;
}

/** A config with a typing error in its route. */
function withTypo(server: string): string {
  return `version: 1\n${server}${ROUTE}    scoep: a\n`;
}

function serverOf(secret: string): string {
  return `authorization_servers:
  main:
    issuer: https://idp.example.com
    client_id: cambist
    client_auth: { method: client_secret_basic, client_secret: ${secret} }
`;
}

test('reports a variable in braces once, with the other problems', () => {
  assert.deepEqual(problemsOf(withTypo(serverOf(`{ env: ${variable('CAMBIST_SECRET')} }`))), [
    `6:71: ${VARIABLE}`,
    `11:5: routes[0]: ${UNKNOWN}`,
  ]);
});

test('reports each variable in braces, whatever its key', () => {
  const text = `version: 1
authorization_servers: { main: { issuer: ${variable('ISSUER')}, client_id: ${variable('ID')}, client_auth: { method: none } } }
${ROUTE}`;
  assert.deepEqual(problemsOf(text), [`2:42: ${VARIABLE}`, `2:64: ${VARIABLE}`]);
});

test('does not end, nor take long, with many variables in braces', () => {
  const routes = `  - { name: a, upstream: ${variable('UPSTREAM')} }\n`.repeat(200);
  const problems = problemsOf(`version: 1\nroutes:\n${routes}`);
  assert.equal(problems[0], `3:26: ${VARIABLE}`);
  assert.ok(problems.length <= 20, `${problems.length} problems`);
});

test('reports a tab in the indentation, with the other problems', () => {
  const text = withTypo(serverOf('{ env: SECRET }').replace('    client_id', '\tclient_id'));
  assert.deepEqual(problemsOf(text), [`5:1: ${TAB}`, `11:5: routes[0]: ${UNKNOWN}`]);
});

test('reports many lines with tabs as one problem', () => {
  const text = VALID.replaceAll('    ', '\t\t').replaceAll('\n  ', '\n\t');
  const [problem, ...others] = problemsOf(text);
  assert.match(problem ?? '', /^3:1: tab in the indentation, here and in \d+ other lines: indent with spaces$/);
  assert.deepEqual(others, []);
});

test('takes a tab for as many spaces as give the fewest problems', () => {
  const text = withTypo(serverOf('{ env: SECRET }')).replace('  main:\n    issuer', '    main:\n\tissuer');
  const fourWide = text.replaceAll('\n    client', '\n        client');
  assert.deepEqual(problemsOf(fourWide), [`4:1: ${TAB}`, `11:5: routes[0]: ${UNKNOWN}`]);
});

test('points at the column in the file in a line with tabs', () => {
  const text = `version: 1\nlog:\n\tlevel: 5\n${ROUTE}    credential: none\n`;
  assert.deepEqual(problemsOf(text), [
    `3:1: ${TAB}`,
    '3:9: log.level: must be one of silent, fatal, error, warn, info, debug, trace',
  ]);
});

test('reports a tab alone where the rest cannot be read either', () => {
  assert.deepEqual(problemsOf('version: 1\nlog:\n\tlevel: "info\n'), [`3:1: ${TAB}`]);
});

test('does not repair a tab that is not in an indentation', () => {
  for (const text of ['log:\tlevel: info', '- \t- a']) {
    assert.equal(findRepair(text, [{ code: 'TAB_AS_INDENT', offset: text.indexOf('\t') }]), undefined);
    assert.ok(problemsOf(text).length > 0);
  }
});

test('reports a tab and a variable in braces together', () => {
  const text = withTypo(serverOf(`{ env: ${variable('SECRET')} }`).replace('    client_id', '\tclient_id'));
  assert.deepEqual(problemsOf(text), [`5:1: ${TAB}`, `6:71: ${VARIABLE}`, `11:5: routes[0]: ${UNKNOWN}`]);
});

const INDENTATIONS: [what: string, line: string, replacement: string, problem: RegExp][] = [
  ['too little', '    client_id', '   client_id', /^5:1: .*indentation/],
  ['too much', '    client_id', '     client_id', /^4:13: .*indent/],
  ['too little before a map', '    client_auth', '   client_auth', /^6:1: .*indentation/],
];
for (const [what, line, replacement, problem] of INDENTATIONS) {
  test(`reports a line that is indented ${what} once`, () => {
    const [first, ...others] = problemsOf(withTypo(serverOf('{ env: SECRET }').replace(line, replacement)));
    assert.match(first ?? '', problem);
    assert.deepEqual(others, []);
  });
}

test('reports independent errors before the first that makes the rest unreadable', () => {
  const text = 'version: "\\q"\nlog: !x { level: info }\nroutes:\n  - name: a\n   match: b\n';
  const problems = problemsOf(text);
  assert.deepEqual(
    problems.map((problem) => problem.split(': ')[0]),
    ['1:11', '2:6', '5:1'],
  );
});
