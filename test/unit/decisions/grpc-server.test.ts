import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Http2Server } from 'node:http2';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { GrpcCall } from '../../../src/decisions/grpc-call.ts';
import { createGrpcServer } from '../../../src/decisions/grpc-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

/** A server, and a function that makes a call with these bytes. */
async function start(t: TestContext, method: (call: GrpcCall) => Promise<Buffer>, onFault: (error: unknown) => void) {
  const path = join(temporaryFolder(t), 'socket');
  const { app } = createGrpcServer(
    { kind: 'unix', path },
    { methods: { '/test/Method': method }, maxConcurrent: 10, isLeaving: () => false, onFault },
  );
  const server = app.server as unknown as Http2Server;
  t.after(() => app.close());
  await once(server.listen(path), 'listening');
  const session = connect('http://localhost', { path });
  t.after(() => session.destroy());
  const open = (sent: Buffer) => {
    const call = session.request({ ':method': 'POST', ':path': '/test/Method', 'content-type': 'application/grpc' });
    call.on('error', () => {}).resume();
    call.write(sent);
    return call;
  };
  return { server, open };
}

test('an unexpected error is reported, and its text stays away from the client', async (t) => {
  const faults: unknown[] = [];
  const { open } = await start(
    t,
    async () => {
      throw new Error('a detail');
    },
    (error) => faults.push(error),
  );
  const [headers] = await once(open(Buffer.alloc(5)).end(), 'response');
  assert.deepEqual([headers['grpc-status'], headers['grpc-message']], ['13', 'internal error']);
  assert.match(String(faults), /a detail/);
});

test('a call that is silent within its message is over, and others go on', async (t) => {
  const { server, open } = await start(
    t,
    (call) => call.read(),
    (error) => assert.fail(String(error)),
  );
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
