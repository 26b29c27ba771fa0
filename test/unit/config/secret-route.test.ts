import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, routeOf, routeProblems, SERVER } from './sample.ts';

const LINES = 'upstream: https://mcp.example.com/mcp\ncredential: secret\nsecret: { file: /run/key }\n';

/** The only problem of a route, without its position. */
function problemOf(lines: string, top = ''): string {
  const [problem = '', ...more] = routeProblems(lines, top).filter((text) => !text.includes('cannot be read here'));
  assert.deepEqual(more, []);
  return problem.replace(/^\d+:\d+: /, '');
}

test('reads a secret and where it goes', () => {
  const { credential, send } = routeOf(LINES, '');
  assert.deepEqual(credential, { kind: 'secret', source: { file: '/run/key' } });
  assert.equal(send, undefined);
  const sendOf = (written: string) => routeOf(`${LINES}send: ${written}\n`, '').send;
  assert.deepEqual(sendOf('{ header: X-API-Key }'), { header: 'X-API-Key', scheme: '' });
  assert.deepEqual(sendOf('{ header: x-api-key, scheme: Key }'), { header: 'x-api-key', scheme: 'Key' });
  assert.deepEqual(sendOf('{ scheme: token }'), { header: 'Authorization', scheme: 'token' });
  assert.deepEqual(sendOf('{ header: authorization }'), { header: 'authorization', scheme: 'Bearer' });
  assert.deepEqual(sendOf('{ scheme: "" }'), { header: 'Authorization', scheme: '' });
});

test('refuses headers that HTTP, MCP or cambist needs', () => {
  for (const header of ['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'TE', 'Proxy-Authorization']) {
    assert.match(problemOf(`${LINES}send: { header: ${header} }\n`), /send\.header: "[a-z-]+" is reserved for HTTP/);
  }
  for (const header of ['Mcp-Session-Id', 'MCP-Protocol-Version', 'mcp_name']) {
    assert.match(problemOf(`${LINES}send: { header: ${header} }\n`), /belong to MCP: use another header/);
  }
  for (const header of ['X-Request-Id', 'DPoP', 'Accept', 'traceparent', 'baggage']) {
    assert.match(problemOf(`${LINES}send: { header: ${header} }\n`), /has another purpose: use another header/);
  }
  assert.match(problemOf(`${LINES}send: { header: "a b" }\n`), /must be the name of a header/);
  assert.match(problemOf(`${LINES}send: { scheme: "a b" }\n`), /must be one word/);
  const session = 'session: { header: X-Session }\n';
  assert.match(problemOf(`${LINES}send: { header: x-session }\n`, session), /into the session header/);
});

test('refuses a secret in the config itself, and a missing one', () => {
  const inline = problemOf('upstream: https://mcp.example.com/mcp\ncredential: secret\nsecret: abc-123\n');
  assert.match(inline, /secret: must not be in the config itself: write \{ file: \/path\/to\/it \}/);
  assert.ok(!inline.includes('abc-123'));
  assert.match(problemOf('upstream: https://mcp.example.com/mcp\ncredential: secret\n'), /missing key "secret"/);
});

test('warns of keys without effect', () => {
  for (const line of ['scope: read', 'resource: https://a', 'step_up: [x]', 'on_missing_subject: deny']) {
    assert.match(problemOf(`${LINES}${line}\n`), /has no effect with credential "secret": remove it/);
  }
  const none = 'upstream: https://mcp.example.com/mcp\ncredential: none\n';
  assert.match(problemOf(`${none}secret: { file: /run/key }\n`), /has no effect with credential "none"/);
  assert.match(problemOf(`${none}send: { header: X-Key }\n`), /has no effect with credential "none"/);
});

test('verifies callers only with an audience, because the route has no authorization server', () => {
  const verify = (more: string) => `${LINES}subject_token: { verify: { issuer: "https://idp.example.com"${more} } }\n`;
  assert.match(problemOf(verify('')), /set subject_token\.verify\.audience to a value or to any/);
  assert.deepEqual(routeOf(verify(', audience: cambist'), '').subjectToken.verify?.audience, ['cambist']);
});

test('warns of a secret that other machines can use', () => {
  const warning = /routes\[0\]\.credential: every client that reaches cambist can use the secret/;
  for (const listen of ['0.0.0.0:8180', '"[::]:8180"', '127.example.com:8180']) {
    assert.match(problemOf(LINES, `listen: ${listen}\n`), warning);
  }
  const hosts = LINES.replace('upstream', 'match: { host: mcp.example.com }\nupstream');
  const intercepted = (address: string) =>
    problemsOf(
      `version: 1\nintercept: { listen: ["${address}"] }\nroutes:\n  - name: only\n${hosts.replaceAll(/^(?=.)/gm, '    ')}`,
    );
  assert.match(intercepted('0.0.0.0:443').join(), warning);
  assert.ok(!intercepted('127.0.0.1:443').some((text) => warning.test(text)));
  for (const listen of ['127.0.0.1:8180', 'localhost:8180', '"[::1]:8180"', 'unix:/run/cambist.sock']) {
    assert.equal(problemOf(LINES, `listen: ${listen}\n`), '');
  }
  const verify = 'subject_token: { verify: { issuer: "https://idp.example.com", audience: a } }\n';
  assert.equal(problemOf(`${LINES}${verify}`, 'listen: 0.0.0.0:8180\n'), '');
});

test('refuses send for tokens that are bound to a key', () => {
  const top = SERVER.replace('client_auth:', 'dpop: true\n    client_auth:');
  const lines = 'upstream: https://mcp.example.com/mcp\nsend: { header: X-Token }\n';
  assert.match(problemOf(lines, top), /send: has no effect on tokens that are bound to a key/);
});
