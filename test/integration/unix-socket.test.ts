import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { startRawUpstream } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

test('serves requests on a unix socket', async (t) => {
  const path = join(temporaryFolder(t), 'proxy.sock');
  const { app, authorization } = await startGateway(t, { top: { listen: `unix:${path}` } });
  assert.equal(app.listen, `unix:${path}`);
  const headers = { host: 'h', authorization };
  const response = await call('http://h/', { socketPath: path, path: '/github/x', headers, body: 'hello' });
  assert.equal(response.status, 200);
  assert.equal(JSON.parse(response.text).url, '/mcp/x');
});

test('closes the connection after a broken response to HTTP/1.0, and keeps running', async (t) => {
  const path = join(temporaryFolder(t), 'proxy.sock');
  const upstream = await startRawUpstream('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', 'end');
  t.after(upstream.close);
  await startPlainGateway(t, { top: { listen: `unix:${path}` }, route: { upstream: upstream.url } });
  const socket = connect(path);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => {}).resume();
  socket.write('GET /plain HTTP/1.0\r\n\r\n');
  await closed;
  const unrouted = await call('http://h/', { socketPath: path, path: '/other', headers: { host: 'h' } });
  assert.equal(unrouted.status, 403);
});
