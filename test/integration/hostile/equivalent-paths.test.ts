import assert from 'node:assert/strict';
import { test } from 'node:test';
import { soon } from '../../harness/eventually.ts';
import { startGateway } from '../../harness/gateway.ts';
import { connectRaw } from '../../harness/http-call.ts';

const DELETING = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'delete_repo' } });

test('never routes another spelling of a path to a route with a weaker scope', async (t) => {
  const { app, upstream, authorization, authorizationServer, config } = await startGateway(t);
  const [github] = config.routes;
  const match = { host: 'localhost', path: '/mcp' };
  app.reloadTo({
    ...config,
    routes: [
      { ...github, name: 'strict', match: { ...match, mcp_name: 'delete_*' }, scope: 'delete' },
      { ...github, name: 'plain', match, scope: 'read' },
      { ...github, name: 'rest', match: { host: 'localhost', path: '/' }, upstream: upstream.url, scope: 'other' },
    ],
  });
  const post = async (path: string) => {
    const connection = await connectRaw(app.url);
    connection.send(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nContent-Length: ${DELETING.length}\r\nConnection: close\r\n\r\n${DELETING}`,
    );
    return soon(path, connection.closed());
  };
  for (const path of [
    '/%6dcp',
    '//mcp',
    '/mcp;x=1',
    '/mcp%20',
    '/mcp%00',
    '/mcp%3bx',
    '/mcp%2f',
    '/mcp\\x',
    '/%4dcp/..',
  ]) {
    assert.match(await post(path), /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/, path);
  }
  assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
  assert.match(await post('/mcp/%6dore//x;y?%6d'), /^HTTP\/1\.1 200 /);
  assert.deepEqual(
    authorizationServer.requests.map(({ form }) => form.get('scope')),
    ['delete'],
  );
  assert.equal(upstream.requests[0]?.url, '/mcp/%6dore//x;y?%6d');
});
