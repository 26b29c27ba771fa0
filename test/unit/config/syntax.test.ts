import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf, VALID } from './sample.ts';

test('what is not YAML or JSON is told with its place, and without what stands there', () => {
  const cases: [string, string[]][] = [
    ['', ['1:1: the file is empty: see config/cambist.yaml for one to begin with']],
    ['# only a comment\n', ['1:1: the file is empty: see config/cambist.yaml for one to begin with']],
    ['- a', ['1:1: must be a map that begins with "version: 1"']],
    ['secret', ['1:1: must be a map that begins with "version: 1"']],
    ['version: 1\nversion: 1', ['2:1: this key comes twice in its map: remove one']],
    [
      '{"version": 1, "log": {"level": "info", "level": "warn"}}',
      ['1:41: this key comes twice in its map: remove one'],
    ],
    [
      'version: 1\n---\nversion: 1',
      ['2:1: a second document: a config file is one document, so remove the "---" and what follows'],
    ],
    ['version: *x', ['1:10: an alias ("*…") of nothing: put the value in quotes if none is meant']],
    ['version: !!binary x', ['1:10: a tag ("!…") that means nothing here: remove it']],
    ['? [a]\n: 1', ['1:3: a key that is a list or a map: write a plain word']],
    ['__proto__: 1', ['1:1: this cannot be a key: write a plain word']],
    [
      '{log: {level: info}',
      ['1:20: a bracket, quote, comma or space is missing here or just before, or the indentation is wrong'],
    ],
    [
      'routes:\n  - name: a\n    match: { path: /a }\n   upstream: https://a.example.com\n',
      ['4:1: a bracket, quote, comma or space is missing here or just before, or the indentation is wrong'],
    ],
    [
      'log: {level: info',
      [
        '1:18: a bracket that is not closed, or wrong indentation: keys of one map start in the same column, and what they hold is indented further',
      ],
    ],
    ['log: @x', ['1:6: a value cannot start with this character: put it in quotes']],
    [
      'log: a: b',
      ['1:6: a map within a line: put a value that holds ": " in quotes, or begin the map on a line of its own'],
    ],
    ['log: "\\q"', ['1:7: an escape that is none: double the backslash, or use single quotes']],
    [']', ['1:1: this cannot stand here: check the brackets, quotes and indentation around it']],
    ['&a &b x', ['1:4: this is not YAML or JSON: check the brackets, quotes and indentation around it']],
  ];
  for (const [text, problems] of cases) assert.deepEqual(problemsOf(text), problems, text);
});

test('no depth of nesting ends the process', () => {
  for (const open of ['[', '{a: ', '- ', '? ', '[\n', '{"a":']) {
    const [problem, ...others] = problemsOf(open.repeat(20_000));
    assert.match(problem ?? '', /^1:1: nested more than 100 levels deep/);
    assert.deepEqual(others, []);
  }
});

test('aliases within aliases are refused before they are written out', () => {
  const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let n = 1; n < 10; n += 1) bomb.push(`a${n}: &a${n} [${`*a${n - 1}, `.repeat(10)}]`);
  assert.deepEqual(problemsOf(bomb.join('\n')), ['1:1: too many aliases ("*…"): write out what they stand for']);
});

test('what is wrong in what an alias stands for is told where that is written', () => {
  const text = VALID.replace('{ path: /github }', '&m { path: github }');
  const wrong = 'must begin with "/"';
  assert.deepEqual(problemsOf(`${text}  - { name: b, match: *m, upstream: "https://b" }\n`), [
    `11:23: routes[0].match.path: ${wrong}`,
    `11:23: routes[1].match.path: ${wrong}`,
  ]);
});

test('an alias that holds itself is wrong where it stands', () => {
  assert.deepEqual(problemsOf('version: 1\nroutes: &r [*r]'), ['2:13: routes[0]: must be a map ("key: value")']);
});

test('a map of many keys takes no time that grows with their square', { timeout: 20_000 }, () => {
  const keys = Array.from({ length: 30_000 }, (_, index) => `  k${index}: x\n`).join('');
  assert.equal(problemsOf(`version: 1\nlog:\n${keys}`).length, 30_001);
});

test('a byte order mark, JSON with tabs and an anchor that is used again are all right', () => {
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

test('YAML 1.1 is read as 1.2: "yes" stays a word', () => {
  assert.deepEqual(problemsOf(`%YAML 1.1\n---\n${VALID}    allow_insecure_http: yes\n`), [
    '15:26: routes[0].allow_insecure_http: must be true or false',
  ]);
});
