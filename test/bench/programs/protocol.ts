/** What a caller asks of the upstream. */
export type Ask =
  /** A small JSON answer, as of a tool call. */
  | 'answer'
  /** A stream of `EVENTS_A_STREAM` events, a write each. */
  | 'events'
  /** A stream that stays open, with an event now and then. */
  | 'hold';

export const EVENTS_A_STREAM = 200;

/** Requests to send in turn: the paths and the subjects go round. */
export interface Target {
  readonly port: number;
  readonly paths: readonly string[];
  /** How many callers, each with a token of its own; `fresh` is a new one for each request. */
  readonly subjects: number | 'fresh';
  readonly ask: Ask;
}

export interface TlsKeys {
  readonly key: string;
  readonly cert: string;
}

/** What the far side is told; each is answered once, under its `id`. */
export type Command =
  | { readonly id: number; readonly do: 'listen'; readonly tls: TlsKeys }
  | { readonly id: number; readonly do: 'each'; readonly target: Target; readonly connections: number }
  | {
      readonly id: number;
      readonly do: 'closed';
      readonly target: Target;
      readonly connections: number;
      readonly seconds: number;
    }
  | {
      readonly id: number;
      readonly do: 'open';
      readonly target: Target;
      readonly perSecond: number;
      readonly seconds: number;
    }
  | { readonly id: number; readonly do: 'hold'; readonly target: Target; readonly count: number }
  | { readonly id: number; readonly do: 'release' };

export interface Listening {
  readonly upstreamPort: number;
  readonly tlsPort: number;
  readonly issuer: string;
}

export interface ClosedResult {
  readonly requests: number;
  /** Answers that were not 200, and connections that broke. */
  readonly errors: number;
  readonly seconds: number;
  /** Of the far side itself: near `seconds`, it is what bounds the throughput. */
  readonly cpuSeconds: number;
  readonly exchanges: number;
}

export interface OpenResult {
  readonly requests: number;
  readonly errors: number;
  /** From when a request was due, not from when it was sent. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export type Reply = { readonly id: number } & ({ readonly result: unknown } | { readonly error: string });
