import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/** A response whose headers have arrived. */
export interface Dispatched {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly controller: Dispatcher.DispatchController;
  /** The body received so far. */
  soFar(): string;
  /** The complete body. Rejects if the response fails. */
  text(): Promise<string>;
}

/** Sends a request through a dispatcher. Resolves with the response headers; rejects if there is no response. */
export function dispatched(
  dispatcher: Dispatcher,
  options: Omit<Dispatcher.DispatchOptions, 'method'> & { method?: Dispatcher.HttpMethod },
): Promise<Dispatched> {
  let body = '';
  let resolveBody = (_text: string): void => {};
  let rejectBody = (_error: Error): void => {};
  const text = new Promise<string>((resolve, reject) => {
    resolveBody = resolve;
    rejectBody = reject;
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
        onResponseEnd: () => resolveBody(body),
        onResponseError(_, error) {
          rejectBody(error);
          reject(error);
        },
      },
    );
  });
}
