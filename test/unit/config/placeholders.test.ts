import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf, VALID } from './sample.ts';

/** A variable as a shell writes it. */
const variable = (what: string) => `$\{${what}}`;

const WARNING =
  'contains a variable in braces, which cambist does not replace: write the value itself, or replace the variable before cambist reads the file';

test('warns of a variable in braces, which is not replaced', () => {
  const text = VALID.replace('client_id: cambist', `client_id: ${variable('CLIENT_ID')}`);
  assert.deepEqual(problemsOf(text), [`5:16: warning: authorization_servers.main.client_id: ${WARNING}`]);
  assert.equal(configOf(text).authorizationServers[0]?.clientId, variable('CLIENT_ID'));
  const list = VALID.replace('{ path: /github }', `{ path: /github, mcp_name: [a, "x_${variable('name:-y')}"] }`);
  assert.deepEqual(problemsOf(list), [`11:43: warning: routes[0].match.mcp_name[1]: ${WARNING}`]);
});

test('reports both the variable and the error that it causes', () => {
  const problems = problemsOf(VALID.replace('https://github-mcp', `https://${variable('HOST')}`));
  assert.deepEqual(problems.toSorted(), [
    '12:15: routes[0].upstream: contains a character that is not allowed in a URL: percent-encode it, or write a host name in its ASCII form',
    `12:15: warning: routes[0].upstream: ${WARNING}`,
  ]);
});

test('accepts other dollar signs and braces', () => {
  for (const name of ['$x', '{x}', '$1', variable(''), variable('1')]) {
    assert.deepEqual(problemsOf(VALID.replace('{ path: /github }', `{ path: /github, mcp_name: "${name}" }`)), []);
  }
});
