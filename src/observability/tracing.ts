/**
 * What the rooms of a request's life ask of tracing. Where it is off there is none of this: the SDK is not loaded, no
 * span is made, and trace context passes through cambist as it came.
 */
export interface Tracing {
  /**
   * Begins the span of a request that came in.
   * @param traceparent the caller's, and `tracestate` beside it, where the request bears one of each
   */
  beginRequest(method: string, traceparent: string | undefined, tracestate: string | undefined): Span;
  /**
   * Sends what is still to be sent, for a second at most. An exporter that still tries after that holds the process: end it.
   * Never throws.
   */
  shutdown(): Promise<void>;
}

/** Told of spans that could not be sent. */
export interface TracingFaults {
  /** While it runs, at each try. */
  notSent(error: unknown): void;
  /** At shutdown, once. */
  lost(error: unknown): void;
}

/** Names and fixed words, statuses and figures: never a token, a query, or whatever else names a user. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Span {
  /** 32 hex digits. */
  readonly traceId: string;
  /** Begins a span below this one, for a request that goes out. */
  child(name: string, attributes: Attributes): Span;
  /** `traceparent`, and `tracestate` where there is one, for the request that this span is about: names and values in turn. */
  headers(): string[];
  rename(name: string): void;
  set(attributes: Attributes): void;
  /** @param error what went wrong, in a fixed word: an error code of cambist or an HTTP status */
  end(attributes?: Attributes, error?: string): void;
}
