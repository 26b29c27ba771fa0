import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONFIG, json, run, TOOLS } from './explained.ts';

test('ignores host_header for an https URL', async (t) => {
  const { code, text } = await run(t, CONFIG, '-H', 'x-kagent-host: docs', 'https://github-mcp.tools.svc/mcp');
  assert.equal(code, 0);
  assert.match(text, /Route "github"/);
  assert.match(text, /metadata +https:\/\/github-mcp\.tools\.svc\/\.well-known/);
});

test('refuses an https request for another host than that of its URL', async (t) => {
  const { code, text } = await run(t, CONFIG, '-H', 'host: x.tools.svc', 'https://github-mcp.tools.svc/mcp');
  assert.equal(code, 1);
  assert.match(text, /the request gets 421 ERR_MISDIRECTED_REQUEST/);
});

test('shows the route of a request, its upstream, and why no other route matches', async (t) => {
  const { code, explanation } = await json(t, CONFIG, 'http://github-mcp.tools.svc/mcp/x?a=%2F');
  assert.equal(code, 0);
  assert.deepEqual(explanation.request, { method: 'POST', host: 'github-mcp.tools.svc', path: '/mcp/x' });
  assert.equal(explanation.route, 'github');
  assert.equal(explanation.upstream, 'https://github-mcp.example.com/mcp/x?a=%2F');
  assert.equal(explanation.credential, 'exchange');
  assert.deepEqual(explanation.others, [
    { route: 'tools', why: 'the host of "github" is more specific' },
    { route: 'docs', why: 'its path /docs is not a prefix of /mcp/x in whole segments' },
  ]);
});

test('selects among routes of one path by method and message, and explains the others', async (t) => {
  const url = 'http://127.0.0.1:8180/tools';
  const nameOf = async (...args: string[]) => (await json(t, TOOLS, ...args, url)).explanation;
  const called = await nameOf('-H', 'mcp-method: tools/call', '-H', 'mcp-name: =?base64?ZGVsZXRlX2FsbA==?=');
  assert.equal(called.route, 'deleting');
  const message = { mcp_method: 'tools/call', mcp_name: 'delete_all' };
  assert.deepEqual(called.request, { method: 'POST', host: '127.0.0.1', path: '/tools', ...message });
  const why = Object.fromEntries(called.others.map((one: { route: string; why: string }) => [one.route, one.why]));
  assert.equal(why.calling, 'the conditions of "deleting" are more specific');
  assert.equal(why.getting, 'it wants the method GET, HEAD');
  assert.equal((await nameOf('-X', 'GET')).route, 'getting');
  const plain = await nameOf();
  assert.equal(plain.route, 'calling');
  const reasons = plain.others.map((one: { why: string }) => one.why);
  assert.ok(reasons.includes('it wants the MCP name delete_*, and the request has none'));
});

test('exits with 1 and explains each route if none matches', async (t) => {
  const { code, explanation } = await json(t, CONFIG, 'http://127.0.0.1:8180/other');
  assert.equal(code, 1);
  assert.equal('route' in explanation, false);
  const others = explanation.others.map(({ route }: { route: string }) => route);
  assert.deepEqual(others, ['github', 'tools', 'docs']);
  const { text } = await run(t, CONFIG, 'http://127.0.0.1:8180/other');
  assert.match(text, /No route: the request gets 403 ERR_ROUTE_NOT_FOUND\./);
  assert.match(text, /^Why no route matches\n {2}github: /m);
});

test('takes the host from the host header of the config, else from Host as curl does, and then accepts a path', async (t) => {
  for (const headers of [['Host: GitHub-MCP.tools.svc:80'], ['X-Kagent-Host: github-mcp.tools.svc', 'Host: other']]) {
    for (const url of ['http://127.0.0.1:8180/mcp', '/mcp']) {
      const { explanation } = await json(t, CONFIG, ...headers.flatMap((header) => ['-H', header]), '-X', 'GET', url);
      assert.deepEqual(explanation.request, { method: 'GET', host: 'github-mcp.tools.svc', path: '/mcp' });
      assert.equal(explanation.route, 'github');
    }
  }
});

test('reports an invalid path', async (t) => {
  const { code, text } = await run(t, CONFIG, 'http://github-mcp.tools.svc/mcp/..%2fadmin');
  assert.equal(code, 1);
  assert.match(text, /path \(not usable\)/);
  assert.match(text, /the request path is invalid/);
});

test('says what a data plane that asks for a decision gets', async (t) => {
  for (const [protocol, by, asked] of [
    ['http', 'name', 'at /ext-authz/github, /forward-auth/github or /auth-request/github'],
    ['http', 'match', 'at /ext-authz, /forward-auth or /auth-request'],
    ['grpc', 'name', 'by gRPC with the name in context_extensions or x-cambist-route'],
    ['grpc', 'match', 'by gRPC'],
  ]) {
    const decisions = `{ ${protocol}: { listen: 'unix:/run/d.sock' }, routes_by: ${by} }`;
    const { text } = await run(t, `${CONFIG}decisions: ${decisions}\n`, 'http://github-mcp.tools.svc/mcp');
    assert.match(text, new RegExp(`^ {2}decision {5}200 with Authorization, asked ${asked}$`, 'm'));
  }
  const byTool = CONFIG.replace('path: /docs', 'path: /docs, mcp_name: read');
  assert.notEqual(byTool, CONFIG);
  const deciding = `${byTool}decisions: { http: { listen: 'unix:/run/d.sock' } }\n`;
  const headers = ['-H', 'mcp-method: tools/call', '-H', 'mcp-name: read'];
  const { text } = await run(t, deciding, ...headers, 'http://127.0.0.1:8180/docs');
  assert.match(text, /^ {2}decision {5}refused, because it depends on the message: set decisions.routes_by to match$/m);
});
