import type { TestContext } from 'node:test';
import { Http1Dispatcher } from '../../src/transport/http1/dispatcher.ts';
import { Http2Dispatcher } from '../../src/transport/http2/dispatcher.ts';
import { soon } from './eventually.ts';
import { authority } from './http2-gateway.ts';
import { FLAG, FRAME, type RawStream, STATUS_200, startRawHttp2 } from './raw-http2.ts';

export type Respond = (stream: RawStream) => void;

/** The response as a caller gets it. `end` means that the response is complete. */
export interface Http2Outcome {
  readonly status: number | undefined;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: string;
  readonly last: 'end' | 'error';
}

export const bytes = (...values: number[]): Buffer => Buffer.from(values);

export function uint32(value: number): Buffer {
  const encoded = Buffer.alloc(4);
  encoded.writeUInt32BE(value);
  return encoded;
}

/** The header block of a response with status 200. */
export const ok = (...more: Buffer[]): Buffer => Buffer.concat([STATUS_200, ...more]);

/** A complete response with the body `ok`. */
export function complete(stream: RawStream, block = ok()): void {
  stream.block(block);
  stream.frame(FRAME.DATA, FLAG.END_STREAM, Buffer.from('ok'));
}

/**
 * A dispatcher with an upstream whose responses the test chooses.
 * @param pingMs interval of its checks of a connection
 */
export async function startHostileHttp2(t: TestContext, pingMs = 30) {
  const state: { respond: Respond } = { respond: complete };
  const upstream = await startRawHttp2(authority.issueServer(), (stream) => state.respond(stream));
  t.after(upstream.close);
  const connect = { ca: authority.cert, timeout: 5000 };
  const dispatcher = new Http2Dispatcher({ connect, pingMs }, new Http1Dispatcher({}));
  t.after(() => dispatcher.destroy());
  const send = (respond: Respond, method: 'GET' | 'HEAD' = 'GET'): Promise<Http2Outcome> => {
    state.respond = respond;
    let status: number | undefined;
    let headers: readonly string[] = [];
    let body = '';
    const outcome = new Promise<Http2Outcome>((resolve) => {
      dispatcher.dispatch(
        { origin: upstream.url, path: '/', method, headers: ['host', 'h'] },
        {
          onResponseStart(controller, code) {
            status = code;
            headers = (controller.rawHeaders ?? []) as string[];
          },
          onResponseData: (_controller, chunk) => {
            body += chunk;
          },
          onResponseEnd: () => resolve({ status, headers, body, last: 'end' }),
          onResponseError: () => resolve({ status, headers, body, last: 'error' }),
        },
      );
    });
    return soon('the end of the request', outcome);
  };
  return { send };
}
