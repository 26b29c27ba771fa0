import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { test } from 'node:test';
import { Http1Dispatcher } from '../../src/transport/http1/dispatcher.ts';
import { Http2Dispatcher } from '../../src/transport/http2/dispatcher.ts';
import { soon } from '../harness/eventually.ts';
import { authority } from '../harness/http2-gateway.ts';
import { startRawHttp2 } from '../harness/raw-http2.ts';

for (const name of ['NO_ERROR', 'INTERNAL_ERROR', 'REFUSED_STREAM', 'CANCEL'] as const) {
  test(`fails a response whose stream is reset with ${name} while its data waits to be read`, async (t) => {
    let onReset = (): void => {};
    const reset = new Promise<void>((resolve) => {
      onReset = resolve;
    });
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
