import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { deferred, soon } from './eventually.ts';

export interface Followed {
  /** In order: `start`, `response 200`, `data` (once for all parts), `end`, `error NAME`, `upgrade 101`. */
  readonly events: string[];
  body: string;
  status: number | undefined;
  rawHeaders: readonly string[];
  error: Error | undefined;
  socket: Duplex | undefined;
  controller: Dispatcher.DispatchController | undefined;
  /** Settles at `end`, `error` or `upgrade`. Rejects when none happens soon. */
  ended(): Promise<Followed>;
}

/** Actions of a test in the handler's callbacks. */
export interface Reactions {
  onStart?(controller: Dispatcher.DispatchController): void;
  onResponse?(controller: Dispatcher.DispatchController): void;
  onData?(controller: Dispatcher.DispatchController, chunk: Buffer): void;
  onEnd?(controller: Dispatcher.DispatchController): void;
  onError?(controller: Dispatcher.DispatchController, error: Error): void;
  onUpgrade?(controller: Dispatcher.DispatchController, socket: Duplex): void;
}

/** The events of a request that gets a response with a body. */
export const SERVED = ['start', 'response 200', 'data', 'end'];

/** A reaction that pauses, and resumes after this time. */
export const pauseFor =
  (ms: number) =>
  (controller: Dispatcher.DispatchController): void => {
    controller.pause();
    setTimeout(() => controller.resume(), ms);
  };

export const ENOUGH = Object.assign(new Error('enough'), { name: 'Enough' });

export const abort = (controller: Dispatcher.DispatchController): void => controller.abort(ENOUGH);

export const throwIt = (): never => {
  throw ENOUGH;
};

export type RequestOptions = Partial<Omit<Dispatcher.DispatchOptions, 'origin' | 'body' | 'headersTimeout'>> & {
  readonly origin?: string;
  readonly body?: unknown;
  readonly headersTimeout?: number | null | undefined;
};

/** Sends a request, by default `GET /`. */
export function follow(
  dispatcher: Dispatcher,
  options: RequestOptions & { origin: string },
  reactions: Reactions = {},
): Followed {
  const { promise, resolve } = deferred<void>();
  const followed: Followed = {
    events: [],
    body: '',
    status: undefined,
    rawHeaders: [],
    error: undefined,
    socket: undefined,
    controller: undefined,
    ended: () => soon('the end of the request', promise).then(() => followed),
  };
  const { events } = followed;
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      events.push('start');
      followed.controller = controller;
      reactions.onStart?.(controller);
    },
    onResponseStart(controller, status) {
      events.push(`response ${status}`);
      followed.status = status;
      followed.rawHeaders = (controller.rawHeaders ?? []) as string[];
      reactions.onResponse?.(controller);
    },
    onResponseData(controller, chunk) {
      if (events.at(-1) !== 'data') events.push('data');
      followed.body += chunk.toString('latin1');
      reactions.onData?.(controller, chunk);
    },
    onResponseEnd(controller) {
      events.push('end');
      resolve();
      reactions.onEnd?.(controller);
    },
    onResponseError(controller, error) {
      events.push(`error ${error.name}`);
      followed.error = error;
      resolve();
      reactions.onError?.(controller, error);
    },
    onRequestUpgrade(controller, status, _, socket) {
      followed.rawHeaders = (controller.rawHeaders ?? []) as string[];
      events.push(`upgrade ${status}`);
      followed.socket = socket;
      resolve();
      reactions.onUpgrade?.(controller, socket);
    },
  };
  dispatcher.dispatch({ method: 'GET', path: '/', ...options } as Dispatcher.DispatchOptions, handler);
  return followed;
}
