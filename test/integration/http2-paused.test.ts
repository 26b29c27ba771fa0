import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { test } from 'node:test';
import { Http1Dispatcher } from '../../src/transport/http1/dispatcher.ts';
import { Http2Dispatcher } from '../../src/transport/http2/dispatcher.ts';
import { deferred } from '../harness/deferred.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { authority, mirror, startHttp2Gateway } from '../harness/http2-gateway.ts';
import { startRawHttp2 } from '../harness/raw-http2.ts';

for (const name of ['NO_ERROR', 'INTERNAL_ERROR', 'REFUSED_STREAM', 'CANCEL'] as const) {
  test(`fails a response whose stream is reset with ${name} while its data waits to be read`, async (t) => {
    const { promise: reset, resolve: onReset } = deferred<void>();
    const upstream = await startRawHttp2(authority.issueServer(), (stream) => {
      stream.head();
      stream.data('x'.repeat(16_384));
      stream.data('x'.repeat(16_384));
      setTimeout(() => {
        stream.reset(constants[`NGHTTP2_${name}`]);
        onReset();
      }, 20);
    });
    t.after(upstream.close);
    const dispatcher = new Http2Dispatcher({ connect: { ca: authority.cert, timeout: 1000 } }, new Http1Dispatcher({}));
    t.after(() => dispatcher.destroy());
    const event = await soon(
      'the last event',
      new Promise((resolve) => {
        dispatcher.dispatch(
          { origin: upstream.url, path: '/', method: 'GET', headers: ['host', 'h'] },
          {
            onResponseStart(controller) {
              controller.pause();
              void reset.then(() => setTimeout(() => controller.resume(), 50));
            },
            onResponseEnd: () => resolve('end'),
            onResponseError: () => resolve('error'),
          },
        );
      }),
    );
    assert.equal(event, 'error');
  });
}

test('frees the stream of a caller that disconnects without reading its response', async (t) => {
  const { app, state } = await startHttp2Gateway(
    t,
    (request, response) => {
      if (!request.url.includes('endless')) return void mirror(request, response);
      const write = (): void => {
        while (!response.stream?.destroyed && response.write(Buffer.alloc(64 * 1024)));
      };
      response.on('drain', write);
      write();
    },
    { http2: true, credential: 'none' },
    { settings: { maxConcurrentStreams: 2 } },
  );
  for (let count = 1; count <= 4; count += 1) {
    const caller = await connectRaw(app.url);
    caller.socket.pause();
    caller.send('GET /github/endless HTTP/1.1\r\nHost: h\r\n\r\n');
    await eventually('the upstream has the request', () => state.requests.length === count);
    await new Promise((resolve) => setTimeout(resolve, 300));
    caller.socket.destroy();
    await eventually('the stream is closed', () => state.requests.at(-1)?.stream.closed === true);
  }
  assert.equal((await soon('the response', call(`${app.url}/github`))).status, 200);
  assert.equal(state.connections, 1);
});
