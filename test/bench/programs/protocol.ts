/** The kind of response that a caller requests. */
export type ResponseKind =
  /** A small JSON response, as of a tool call. */
  | 'json'
  /** A stream of `EVENTS_PER_STREAM` events, with one write for each event. */
  | 'events'
  /** A stream that stays open, with an occasional event. */
  | 'hold';

export const EVENTS_PER_STREAM = 200;

/** The measured percentiles of latency. */
export const PERCENTILES = [50, 99] as const;

/** The requests to send. Paths and subjects are used in turn. */
export interface Target {
  readonly port: number;
  readonly paths: readonly string[];
  /** The number of callers, each with its own token. `fresh` is a new caller for each request. */
  readonly subjects: number | 'fresh';
  readonly responseKind: ResponseKind;
  /** The issuer of the callers' tokens, if their signatures must be valid. Not with `fresh` callers. */
  readonly signedBy?: string;
  /** The proxy terminates TLS for this host, with a certificate of this authority, in PEM. Callers may have one as well. */
  readonly tls?: ({ readonly host: string; readonly ca: string } & Partial<TlsKeys>) | undefined;
  /** Requests ask for decisions, with this secret. */
  readonly decisionSecret?: string | undefined;
  /** Each request has a connection of its own. */
  readonly newConnections?: boolean;
}

export interface TlsKeys {
  readonly key: string;
  readonly cert: string;
}

/** A connection to a proxy, for one request at a time. */
export interface Connection {
  /** @param onEnd receives the status; 0 if the connection failed. @param onHeaders called before, with the response headers */
  send(request: Buffer, onEnd: (status: number) => void, onHeaders?: () => void): void;
  close(): void;
}

/** A command for the load process. Each has one reply, with the same `id`. */
export type Command = { readonly id: number } & (
  | { readonly do: 'listen'; readonly tls: TlsKeys }
  | { readonly do: 'each' | 'connect'; readonly target: Target; readonly connections: number }
  | { readonly do: 'closed'; readonly target: Target; readonly connections: number; readonly seconds: number }
  | { readonly do: 'open'; readonly target: Target; readonly perSecond: number; readonly seconds: number }
  | { readonly do: 'hold'; readonly target: Target; readonly count: number }
  | { readonly do: 'release' }
);

export interface Listening {
  readonly upstreamPort: number;
  readonly tlsPort: number;
  readonly issuer: string;
}

export interface ClosedResult {
  readonly requests: number;
  /** Responses other than 200, and failed connections. */
  readonly errors: number;
  readonly seconds: number;
  /** CPU time of the load process. If it is close to `seconds`, the load process limits the throughput. */
  readonly cpuSeconds: number;
  readonly exchanges: number;
}

export interface OpenResult {
  readonly requests: number;
  readonly errors: number;
  /** One for each of `PERCENTILES`. Measured from the scheduled time of a request, not from its sending. */
  readonly percentilesMs: readonly number[];
  readonly maxMs: number;
}

export type Reply = { readonly id: number } & ({ readonly result: unknown } | { readonly error: string });
