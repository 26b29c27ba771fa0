import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf, VALID } from './sample.ts';

/** As a shell would have it. */
const variable = (what: string) => `$\{${what}}`;

const WARNING =
  'has a variable in it ("$" and braces), and none is replaced here: write the value itself, or have it put in before cambist reads the file';

test('a text that waits for a variable to be put in is warned of, since it counts as it stands', () => {
  const text = VALID.replace('client_id: cambist', `client_id: ${variable('CLIENT_ID')}`);
  assert.deepEqual(problemsOf(text), [`5:16: warning: authorization_servers.main.client_id: ${WARNING}`]);
  assert.equal(configOf(text).authorizationServers[0]?.clientId, variable('CLIENT_ID'));
  const list = VALID.replace('{ path: /github }', `{ path: /github, mcp_name: [a, "x_${variable('name:-y')}"] }`);
  assert.deepEqual(problemsOf(list), [`11:43: warning: routes[0].match.mcp_name[1]: ${WARNING}`]);
});

test('the warning stands beside the error that the variable leads to', () => {
  const problems = problemsOf(VALID.replace('https://github-mcp', `https://${variable('HOST')}`));
  assert.deepEqual(problems.toSorted(), [
    '12:15: routes[0].upstream: has a character that no URL may have: percent-encode it, and write a host name in its ASCII form',
    `12:15: warning: routes[0].upstream: ${WARNING}`,
  ]);
});

test('other dollars and braces are left alone', () => {
  for (const name of ['$x', '{x}', '$1', variable(''), variable('1')]) {
    assert.deepEqual(problemsOf(VALID.replace('{ path: /github }', `{ path: /github, mcp_name: "${name}" }`)), []);
  }
});
