import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { Dispatcher } from 'undici';
import { createResponseRelay, type ResponseRelay } from '../../../src/proxy/response-relay.ts';
import { MAX_TEXT_BYTES } from '../../../src/transport/pump.ts';
import { eventually } from '../../harness/eventually.ts';
import { collectGarbage } from '../../harness/heap.ts';
import { startHttpServer } from '../../harness/http-server.ts';

const CONTROLLER = { pause() {}, resume() {} } as Dispatcher.DispatchController;

/** Repeats all 256 byte values. */
function bytesOf(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => index % 256));
}

/** The bytes of a relayed response as the caller reads them. */
async function relayed(t: TestContext, length: number, relay: (answer: ResponseRelay) => void) {
  const server = await startHttpServer((_, response) => {
    const answer = createResponseRelay(CONTROLLER, 200, ['content-length', String(length)], () => true);
    answer.start(response);
    relay(answer);
  });
  t.after(server.close);
  const socket = connect(server.port, '127.0.0.1');
  t.after(() => socket.destroy());
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  const all = (): Buffer => Buffer.concat(chunks);
  return {
    hasEnded: () => socket.closed,
    head: () => all().toString('latin1').split('\r\n\r\n')[0] ?? '',
    body: () => (all().includes('\r\n\r\n') ? all().subarray(all().indexOf('\r\n\r\n') + 4) : Buffer.from('none yet')),
  };
}

for (const length of [0, 1, 256, MAX_TEXT_BYTES - 1, MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1, 3 * MAX_TEXT_BYTES]) {
  test(`relays a response of ${length} bytes that arrives at once unchanged`, async (t) => {
    const caller = await relayed(t, length, (relay) => {
      if (length > 0) relay.data(bytesOf(length));
      relay.end();
    });
    await eventually('its body', () => caller.body().length === length);
    assert.match(caller.head(), /^HTTP\/1\.1 200 /);
    assert.deepEqual(caller.body(), bytesOf(length));
  });
}

test('keeps the order of pieces that arrive at once', async (t) => {
  const pieces = [bytesOf(10), bytesOf(3), bytesOf(MAX_TEXT_BYTES + 1), bytesOf(7)];
  const whole = Buffer.concat(pieces);
  const caller = await relayed(t, whole.length, (relay) => {
    for (const piece of pieces) relay.data(piece);
    relay.end();
  });
  await eventually('its body', () => caller.body().length === whole.length);
  assert.deepEqual(caller.body(), whole);
});

test('relays the headers before the body arrives', async (t) => {
  const caller = await relayed(t, 10, () => {});
  await eventually('its headers', () => caller.head().includes('content-length: 10'));
});

test('relays the first bytes of a body before the rest arrives', async (t) => {
  let rest = (): void => {};
  const caller = await relayed(t, 20, (relay) => {
    relay.data(bytesOf(10));
    rest = () => {
      relay.data(bytesOf(10));
      relay.end();
    };
  });
  await eventually('its beginning', () => caller.body().equals(bytesOf(10)));
  rest();
  await eventually('the rest', () => caller.body().equals(Buffer.concat([bytesOf(10), bytesOf(10)])));
});

test('relays the received bytes of a response before its upstream fails', async (t) => {
  const caller = await relayed(t, 20, (relay) => {
    relay.data(bytesOf(10));
    process.nextTick(() => relay.fail());
  });
  await eventually('the response is complete', caller.hasEnded);
  assert.deepEqual(caller.body(), bytesOf(10));
});

test('does not keep the first bytes of a stream', async (t) => {
  let answer: ResponseRelay | undefined;
  let began: WeakRef<Buffer> | undefined;
  const caller = await relayed(t, 20, (relay) => {
    const bytes = bytesOf(10);
    began = new WeakRef(bytes);
    relay.data(bytes);
    answer = relay;
  });
  await eventually('its beginning', () => caller.body().equals(bytesOf(10)));
  await eventually('it is forgotten', () => {
    collectGarbage();
    return began?.deref() === undefined;
  });
  answer?.data(bytesOf(10));
  answer?.end();
  await eventually('the rest', () => caller.body().length === 20);
});
