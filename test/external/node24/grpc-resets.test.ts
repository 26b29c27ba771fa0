import assert from 'node:assert/strict';
import { connect, constants } from 'node:http2';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkRequest } from '../../harness/check-client.ts';
import { eventually } from '../../harness/eventually.ts';
import { startGateway } from '../../harness/gateway.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

/** More than Node 20 allows on one connection. */
const RESETS = 3000;

test('a data plane that resets its calls keeps its connection, and the calls in flight', async (t) => {
  const socketPath = join(temporaryFolder(t), 'grpc');
  const { authorization, authorizationServer } = await startGateway(t, {
    top: { decisions: { grpc: { listen: `unix:${socketPath}` } } },
  });
  authorizationServer.behaviour = { kind: 'issue', delayMs: 3000 };
  const session = connect('http://localhost', { path: socketPath });
  t.after(() => session.destroy());
  session.on('error', () => {});
  const message = checkRequest({ headers: [['authorization', authorization]] });
  const framed = Buffer.concat([Buffer.from([0, 0, 0, message.length >> 8, message.length & 255]), message]);
  const open = () =>
    session.request({
      ':method': 'POST',
      ':path': '/envoy.service.auth.v3.Authorization/Check',
      'content-type': 'application/grpc',
    });
  const waiting = open();
  const status = new Promise((resolve) => {
    waiting.on('trailers', (trailers) => resolve(trailers['grpc-status']));
    waiting.on('error', resolve);
  });
  waiting.resume().end(framed);
  await eventually('the exchange', () => authorizationServer.requests.length === 1);
  for (let count = 0; count < RESETS && !session.destroyed; count += 100) {
    const calls = Array.from({ length: 100 }, open);
    await new Promise((resolve) => session.ping(resolve));
    for (const call of calls) call.on('error', () => {}).close(constants.NGHTTP2_CANCEL);
  }
  assert.equal(await status, '0');
});
