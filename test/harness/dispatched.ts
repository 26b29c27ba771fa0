import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/** A response that has begun. */
export interface Dispatched {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly controller: Dispatcher.DispatchController;
  /** The body so far. */
  soFar(): string;
  /** The whole body. Rejects if the response is aborted. */
  text(): Promise<string>;
}

/** Sends a request through a dispatcher. Settles with the response headers, and rejects if the request fails. */
export function dispatched(
  dispatcher: Dispatcher,
  options: Omit<Dispatcher.DispatchOptions, 'method'> & { method?: Dispatcher.HttpMethod },
): Promise<Dispatched> {
  let body = '';
  let whole = (_text: string): void => {};
  let broken = (_error: Error): void => {};
  const text = new Promise<string>((resolve, reject) => {
    whole = resolve;
    broken = reject;
  });
  text.catch(() => {});
  return new Promise((resolve, reject) => {
    dispatcher.dispatch(
      { method: 'GET', ...options },
      {
        onRequestStart() {},
        onResponseStart: (controller, status, headers) =>
          resolve({ status, headers, controller, soFar: () => body, text: () => text }),
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
