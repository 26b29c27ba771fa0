import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, VALID } from './sample.ts';

test('refuses a header with two roles', () => {
  const cases: [string, string][] = [
    ['host_header: mcp-session-id\n', '13:14: host_header: is also the session header: use another header'],
    ['host_header: Authorization\n', '13:14: host_header: is already the subject token header: use another header'],
    [
      'session: { header: authorization }\n',
      '13:20: session.header: is already the subject token header: use another header',
    ],
    [
      'defaults: { subject_token: { header: Mcp-Session-Id } }\n',
      '13:38: defaults.subject_token.header: is both the subject token header and the session header: change one of them',
    ],
    [
      '    subject_token: { header: x-a }\nhost_header: X-A\n',
      '13:30: routes[0].subject_token.header: is both the subject token header and the host header: change one of them',
    ],
  ];
  for (const [lines, problem] of cases) assert.deepEqual(problemsOf(VALID + lines), [problem]);
});

test('refuses headers that are reserved for HTTP', () => {
  for (const name of ['Host', 'Connection', 'Transfer-Encoding', 'Content-Length', 'TE']) {
    const reserved = `"${name.toLowerCase()}" is reserved for HTTP itself: use another header`;
    assert.deepEqual(problemsOf(`${VALID}host_header: ${name}\n`), [`13:14: host_header: ${reserved}`]);
    assert.deepEqual(problemsOf(`${VALID}session: { header: ${name} }\n`), [`13:20: session.header: ${reserved}`]);
    assert.deepEqual(problemsOf(`${VALID}    subject_token: { header: ${name} }\n`), [
      `13:30: routes[0].subject_token.header: ${reserved}`,
    ]);
  }
});
