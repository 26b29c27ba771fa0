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

test('reads consecutive line comments as one text', () => {
  assert.deepEqual(phrases('a.ts', '// It is sent once\n// more.'), ['1: once more']);
  assert.deepEqual(phrases('a.ts', '// The status\n// What it says.\nrun();\n// What it says.'), ['4: What']);
});

test('finds sentences that begin with "What" or "Who", except questions', () => {
  assert.deepEqual(phrases('a.md', 'What it does.\n\nIt runs. Whoever asks waits.\n\n| What | x |\n'), [
    '1: What',
    '3: Whoever',
    '5: What',
  ]);
  assert.deepEqual(phrases('a.md', "## What's new\n\nWhat is it? Who is it for?\n\nIt says what it does.\n"), []);
  assert.deepEqual(phrases('a.ts', `/** What it does. */\nconst a = \`\${b} What\`;`), ['1: What']);
});

test('allows the plain uses of these words', () => {
  const text = [
    'There is no route. It is no longer used. The HEAD method, head-of-line blocking, `head -1`.',
    'At its end the response is complete. The bearer token has nothing of its own.',
  ].join('\n');
  assert.deepEqual(phrases('a.md', text), []);
});

test('reads comments and strings of other languages', () => {
  assert.deepEqual(phrases('a.go', 'answer := head // nobody waits\nlog("no answer")'), ['1: nobody', '2: answer']);
  assert.deepEqual(phrases('a.yaml', '# The old answer.\nkey: value\n'), ['1: answer']);
  assert.deepEqual(phrases('Dockerfile', '# The old answer.\nRUN true\n'), ['1: answer']);
  assert.deepEqual(phrases('a.json', '{"answer": "the answer"}'), ['1: answer']);
});
