import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { test } from 'node:test';
import { Http1Dispatcher } from '../../src/transport/http1/dispatcher.ts';
import { Http2Dispatcher } from '../../src/transport/http2/dispatcher.ts';
import { soon } from '../harness/eventually.ts';
import { authority } from '../harness/http2-gateway.ts';
import { startRawHttp2 } from '../harness/raw-http2.ts';

for (const name of ['NO_ERROR', 'INTERNAL_ERROR', 'REFUSED_STREAM', 'CANCEL'] as const) {
  test(`an answer whose stream is given up by ${name} while its data waits to be taken fails, and does not end`, async (t) => {
    let given = (): void => {};
    const givenUp = new Promise<void>((resolve) => {
      given = resolve;
    });
    const upstream = await startRawHttp2(authority.issueServer(), (stream) => {
      stream.head();
      stream.data('x'.repeat(16_384));
      stream.data('x'.repeat(16_384));
      setTimeout(() => {
        stream.reset(constants[`NGHTTP2_${name}`]);
        given();
      }, 20);
    });
    t.after(upstream.close);
    const dispatcher = new Http2Dispatcher({ connect: { ca: authority.cert, timeout: 1000 } }, new Http1Dispatcher({}));
    t.after(() => dispatcher.destroy());
    const told = await soon(
      'what comes of it',
      new Promise((resolve) => {
        dispatcher.dispatch(
          { origin: upstream.url, path: '/', method: 'GET', headers: ['host', 'h'] },
          {
            onResponseStart(controller) {
              controller.pause();
              void givenUp.then(() => setTimeout(() => controller.resume(), 50));
            },
            onResponseEnd: () => resolve('end'),
            onResponseError: () => resolve('error'),
          },
        );
      }),
    );
    assert.equal(told, 'error');
  });
}
