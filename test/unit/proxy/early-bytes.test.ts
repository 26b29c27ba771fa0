import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { readEarlyBytes } from '../../../src/proxy/tunnel.ts';
import { soon } from '../../harness/eventually.ts';
import { closeServer, listen } from '../../harness/http-server.ts';

async function socketPair(t: TestContext): Promise<[caller: Socket, near: Socket]> {
  const server = createServer({ allowHalfOpen: true });
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const { port } = await listen(server);
  const caller = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  caller.on('error', () => {});
  const near = await accepted;
  near.on('error', () => near.destroy());
  t.after(() => {
    near.destroy();
    caller.destroy();
    return closeServer(server);
  });
  return [caller, near];
}

const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

test('puts early bytes back in order, before what comes later', async (t) => {
  const [caller, near] = await socketPair(t);
  const putBack = readEarlyBytes(near, Buffer.from('head,'));
  caller.write('early,');
  await soon('the early bytes', new Promise((resolve) => near.once('data', resolve)));
  putBack();
  caller.write('late');
  let text = '';
  await soon(
    'all bytes',
    new Promise<void>((resolve) => {
      near.on('data', (chunk) => {
        text += chunk;
        if (text.endsWith('late')) resolve();
      });
      near.resume();
    }),
  );
  assert.equal(text, 'head,early,late');
});

for (const [what, leave] of [
  ['sends too much', (caller: Socket) => caller.write(Buffer.alloc(64 * 1024 + 1))],
  ['closes its side after early bytes', (caller: Socket) => caller.end('early')],
] as const) {
  test(`closes the connection of a caller that ${what}`, async (t) => {
    const [caller, near] = await socketPair(t);
    readEarlyBytes(near, Buffer.alloc(0));
    leave(caller);
    await soon('the close', closed(near));
  });
}
