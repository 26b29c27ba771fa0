/**
 * Tracing as the pipeline uses it. If it is off, the SDK is not loaded, no spans are created, and trace context passes
 * unchanged.
 */
export interface Tracing {
  beginRequest(method: string, traceparent: string | undefined, tracestate: string | undefined): Span;
  /**
   * Sends the remaining spans, for at most a second. An exporter that retries for longer keeps the process alive, so exit
   * explicitly. Never throws.
   */
  shutdown(): Promise<void>;
}

/** Names, fixed words, statuses and numbers. Never a token, a query or anything else that identifies a user. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Span {
  /** 32 hex digits. */
  readonly traceId: string;
  child(name: string, attributes: Attributes): Span;
  /** `traceparent` and, if there is one, `tracestate` for the request of this span. Alternating names and values. */
  headers(): string[];
  rename(name: string): void;
  set(attributes: Attributes): void;
  /** @param error a fixed word: an error code of cambist or an HTTP status */
  end(attributes?: Attributes, error?: string): void;
}
