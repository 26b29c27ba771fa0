import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { deferred } from './eventually.ts';

/** A response that has begun. */
export interface Dispatched {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly controller: Dispatcher.DispatchController;
  /** The whole body. Rejects if the response is aborted. */
  text(): Promise<string>;
}

/** Sends a request through a dispatcher. Settles with the response headers, and rejects if the request fails. */
export function dispatched(
  dispatcher: Dispatcher,
  options: Omit<Dispatcher.DispatchOptions, 'method'> & { method?: Dispatcher.HttpMethod },
): Promise<Dispatched> {
  let body = '';
  const { promise: text, resolve: whole, reject: broken } = deferred<string>();
  text.catch(() => {});
  return new Promise((resolve, reject) => {
    dispatcher.dispatch(
      { method: 'GET', ...options },
      {
        onRequestStart() {},
        onResponseStart: (controller, status, headers) => resolve({ status, headers, controller, text: () => text }),
        onResponseData(_, chunk) {
          body += chunk.toString('latin1');
        },
        onResponseEnd: () => whole(body),
        onResponseError(_, error) {
          broken(error);
          reject(error);
        },
      },
    );
  });
}
