import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createStallWatch } from '../../../src/proxy/stall-watch.ts';
import { join, readEarlyBytes } from '../../../src/proxy/tunnel.ts';
import { DISCONNECTS } from '../../harness/disconnects.ts';
import { soon } from '../../harness/eventually.ts';
import { serve } from '../../harness/http-server.ts';

/** Both ends of a connection, which stay open until the test closes them. */
async function socketPair(t: TestContext): Promise<[near: Socket, far: Socket]> {
  const server = createServer({ allowHalfOpen: true });
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const { port } = await serve(t, server);
  const near = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const far = await accepted;
  near.on('error', () => near.destroy());
  t.after(() => near.destroy());
  return [near, far];
}

const FLOOD = Buffer.alloc(32 * 1024 * 1024);

for (const [side, isCaller] of [
  ['caller', true],
  ['backend', false],
] as const) {
  for (const [state, prepare] of [
    ['a silent peer', () => {}],
    ['a peer that does not read', (socket: Socket) => void socket.write(FLOOD)],
  ] as const) {
    for (const [way, leave] of DISCONNECTS) {
      test(`closes both connections when a ${side} with ${state} ${way}`, async (t) => {
        const [caller, one] = await socketPair(t);
        const [backend, other] = await socketPair(t);
        join(one, other, createStallWatch(systemClock), 100);
        const leaving = isCaller ? caller : backend;
        prepare(leaving);
        await new Promise((resolve) => setTimeout(resolve, 100));
        leave(leaving);
        await soon('both connections are closed', Promise.all([closed(one), closed(other)]));
      });
    }
  }
}

function closed(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => (socket.destroyed ? resolve(0) : socket.once('close', resolve)));
}

test('puts early bytes back in order, before what comes later', async (t) => {
  const [caller, near] = await socketPair(t);
  const putBack = readEarlyBytes(near, Buffer.from('head,'));
  caller.write('early,');
  await soon('the early bytes', new Promise((resolve) => near.once('data', resolve)));
  putBack();
  caller.end('late');
  assert.equal(await soon('all bytes', text(near)), 'head,early,late');
});

for (const [what, leave] of [
  ['sends too much', (caller: Socket) => void caller.write(Buffer.alloc(64 * 1024 + 1))],
  ['closes its side after early bytes', (caller: Socket) => caller.end('early')],
] as const) {
  test(`closes the connection of a caller that ${what}`, async (t) => {
    const [caller, near] = await socketPair(t);
    readEarlyBytes(near, Buffer.alloc(0));
    leave(caller);
    await soon('the close', closed(near));
  });
}
