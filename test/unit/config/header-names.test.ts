import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, VALID } from './sample.ts';

test('a header has one role', () => {
  const cases: [string, string][] = [
    ['host_header: mcp-session-id\n', '13:14: host_header: is the session header as well: name another'],
    ['host_header: Authorization\n', '13:14: host_header: bears the subject token already: name another'],
    ['session: { header: authorization }\n', '13:20: session.header: bears the subject token already: name another'],
    [
      'defaults: { subject_token: { header: Mcp-Session-Id } }\n',
      '13:38: defaults.subject_token.header: bears the subject token and is the session header as well: name another',
    ],
    [
      '    subject_token: { header: x-a }\nhost_header: X-A\n',
      '13:30: routes[0].subject_token.header: bears the subject token and is the host header as well: name another',
    ],
  ];
  for (const [lines, problem] of cases) assert.deepEqual(problemsOf(VALID + lines), [problem]);
});

test('headers that HTTP itself needs have no other role', () => {
  for (const name of ['Host', 'Connection', 'Transfer-Encoding', 'Content-Length', 'TE']) {
    const reserved = `"${name.toLowerCase()}" is a header that HTTP itself needs: name another`;
    assert.deepEqual(problemsOf(`${VALID}host_header: ${name}\n`), [`13:14: host_header: ${reserved}`]);
    assert.deepEqual(problemsOf(`${VALID}session: { header: ${name} }\n`), [`13:20: session.header: ${reserved}`]);
    assert.deepEqual(problemsOf(`${VALID}    subject_token: { header: ${name} }\n`), [
      `13:30: routes[0].subject_token.header: ${reserved}`,
    ]);
  }
});
