import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findingsIn, ROOTS, scan } from '../../harness/plain-language.ts';

test('the sources, the tests and the docs are written in plain English', () => {
  const findings = scan(ROOTS);
  assert.deepEqual(
    findings.map(({ file, line, phrase, use }) => `${file}:${line}: "${phrase}" (use: ${use})`),
    [],
  );
});

/** The phrases found in a text, each with its line. */
function phrases(file: string, text: string): string[] {
  return findingsIn(file, text).map(({ line, phrase }) => `${line}: ${phrase}`);
}

test('finds a phrase in comments, strings and templates, but not in code', () => {
  const source = [
    'const answer = head(whom); // nobody',
    `it('returns the answer', () => \`/\${mend(\`\${a} bears \${b}\`)} is none\`);`,
    "const type = 'answer';",
    '/**',
    ' * It is sent once',
    ' * more, with `head`.',
    ' */',
    'const pattern = /it\'s "an answer"/; const half = a / b; // anew',
  ].join('\n');
  assert.deepEqual(phrases('a.ts', source), [
    '1: nobody',
    '2: answer',
    '2: bears',
    '2: is none',
    '5: once more',
    '8: anew',
  ]);
});

for (const [what, file, text, found] of [
  ['consecutive line comments as one text', 'a.ts', '// It is sent once\n// more.', ['1: once more']],
  ['comments apart by code', 'a.ts', '// The status\n// What it says.\nrun();\n// What it says.', ['4: What']],
  [
    'a sentence that begins with "What" or "Who"',
    'a.md',
    'What it does.\n\nIt runs. Whoever asks waits.\n\n| What | x |\n',
    ['1: What', '3: Whoever', '5: What'],
  ],
  ['no question', 'a.md', "## What's new\n\nWhat is it? Who is it for?\n\nIt says what it does.\n", []],
  ['a doc comment', 'a.ts', `/** What it does. */\nconst a = \`\${b} What\`;`, ['1: What']],
  ['no plain use of "no"', 'a.md', 'There is no route. It is no longer used.', []],
  ['no plain use of "head"', 'a.md', 'The HEAD method, head-of-line blocking, `head -1`.', []],
  [
    'no plain use of "end"',
    'a.md',
    'At its end the response is complete. The bearer token has nothing of its own.',
    [],
  ],
  ['Go', 'a.go', 'answer := head // nobody waits\nlog("no answer")', ['1: nobody', '2: answer']],
  ['YAML', 'a.yaml', '# The old answer.\nkey: value\n', ['1: answer']],
  ['a Dockerfile', 'Dockerfile', '# The old answer.\nRUN true\n', ['1: answer']],
  ['JSON', 'a.json', '{"answer": "the answer"}', ['1: answer']],
] as const) {
  test(`finds phrases in comments and sentences: ${what}`, () => assert.deepEqual(phrases(file, text), found));
}
