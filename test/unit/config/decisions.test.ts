import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, VALID } from './sample.ts';

const FILES = 'certificate: { file: ./a }, private_key: { file: ./b }';

test('requires a listener of decisions that only the data plane can use', () => {
  const withHttp = (http: string, more = '') =>
    problemsOf(`${VALID}decisions: { http: { ${http} }${more} }\n`).join('\n');
  for (const http of [
    'listen: "127.0.0.1:8183"',
    `listen: { address: "0.0.0.0:8183", tls: { ${FILES} } }`,
    `listen: { address: "0.0.0.0:8183", tls: { ${FILES}, client_ca: { file: ./c }, client_certificate: optional } }`,
  ]) {
    assert.match(withHttp(http), /decisions\.http\.listen: hands out tokens to every client/, http);
  }
  for (const http of [
    'listen: "unix:/run/d.sock"',
    'listen: "127.0.0.1:8183", secret: { file: ./secret }',
    `listen: { address: "0.0.0.0:8183", tls: { ${FILES}, client_ca: { file: ./c } } }`,
  ]) {
    assert.doesNotMatch(withHttp(http), /error|hands out/, http);
  }
  const grpc = 'grpc: { listen: "127.0.0.1:8184" }';
  assert.match(problemsOf(`${VALID}decisions: { ${grpc} }\n`).join('\n'), /decisions\.grpc\.listen: hands out tokens/);
  assert.match(problemsOf(`${VALID}decisions: { routes_by: match }\n`).join('\n'), /has no listener: set http or grpc/);
  assert.match(withHttp('secret: { file: ./secret }'), /missing key "listen"/);
  assert.match(withHttp('listen: "unix:/a", secret: text'), /must not be in the config itself/);
  assert.match(withHttp('listen: "127.0.0.1:8180", secret: { file: ./s }'), /has the same address as listen/);
});

test('warns of routes that no decision can use', () => {
  const decisions = 'decisions: { http: { listen: "unix:/run/d.sock" } }\n';
  const byTool = VALID.replace(/path: \/\w+/, (path) => `${path}, mcp_name: read`);
  assert.notEqual(byTool, VALID);
  assert.match(
    problemsOf(byTool + decisions).join('\n'),
    /no decision uses this route, because it depends on the message/,
  );
  assert.doesNotMatch(
    problemsOf(`${byTool}${decisions.replace(' }\n', ', routes_by: match }\n')}`).join('\n'),
    /no decision uses/,
  );
});
