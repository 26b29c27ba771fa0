/** What routes are matched by, of the JSON-RPC message in a request's body. */
export interface McpMessage {
  /** Undefined: an answer to the server, which has none. */
  readonly method: string | undefined;
  /** The tool, prompt, resource or task that the message is about; undefined where it is about none. */
  readonly name: string | undefined;
}

/** What routes are matched by, beside host and path. */
export interface RequestFacts {
  /** As it came: HTTP methods are case-sensitive. */
  readonly method: string;
  /** Undefined: the request has none. `unread`: whether it has one is in a body that nobody has read yet. */
  readonly message: McpMessage | undefined | 'unread';
}

/** The facts of a request that was read as far as it needs to be. */
export interface KnownFacts extends RequestFacts {
  readonly message: McpMessage | undefined;
}

/** A request that bears no message, of the method that could. */
export const NO_MESSAGE: KnownFacts = { method: 'POST', message: undefined };
