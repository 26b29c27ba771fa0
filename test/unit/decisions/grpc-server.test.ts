import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Http2Server } from 'node:http2';
import { join } from 'node:path';
import { test } from 'node:test';
import { createGrpcServer } from '../../../src/decisions/grpc-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

test('a call that is silent within its message is over, and others go on', async (t) => {
  const path = join(temporaryFolder(t), 'socket');
  const { app } = createGrpcServer(
    { kind: 'unix', path },
    { methods: { '/test/Echo': (call) => call.read() }, maxConcurrent: 10, isLeaving: () => false },
  );
  const server = app.server as unknown as Http2Server;
  t.after(() => app.close());
  await once(server.listen(path), 'listening');
  const session = connect('http://localhost', { path });
  t.after(() => session.destroy());
  const open = (sent: Buffer) => {
    const call = session.request({ ':method': 'POST', ':path': '/test/Echo', 'content-type': 'application/grpc' });
    call.on('error', () => {}).resume();
    call.write(sent);
    return call;
  };
  // The server waits for 10 seconds.
  server.once('stream', (stream) => setImmediate(() => stream.emit('timeout')));
  for (const sent of [Buffer.alloc(0), Buffer.from([0, 0, 0, 0, 9, 0])]) {
    const silent = open(sent);
    await once(silent, 'close');
    assert.equal(silent.rstCode, 8);
    const call = open(Buffer.alloc(5)).end();
    const [trailers] = await once(call, 'trailers');
    assert.equal(trailers['grpc-status'], '0');
    server.once('stream', (stream) => setImmediate(() => stream.emit('timeout')));
  }
});
