/** The parts of a JSON-RPC message that routes match. */
export interface McpMessage {
  /** Undefined in a response to the server, which has no method. */
  readonly method: string | undefined;
  /** The tool, prompt, resource or task that the message names, if any. */
  readonly name: string | undefined;
}

/** The parts of a request that routes match, besides host and path. */
export interface RequestFacts {
  /** As received, because HTTP methods are case-sensitive. */
  readonly method: string;
  /** Undefined if the request has no message. `unread` if the body, which may have one, was not read yet. */
  readonly message: McpMessage | undefined | 'unread';
}

/** The facts of a request whose body was read if a route depends on it. */
export interface KnownFacts extends RequestFacts {
  readonly message: McpMessage | undefined;
}

/** A POST without a message. */
export const NO_MESSAGE: KnownFacts = { method: 'POST', message: undefined };
