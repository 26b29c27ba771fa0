/** The parts of a JSON-RPC message that routes match. */
export interface McpMessage {
  /** A response to the server has no method. */
  readonly method: string | undefined;
  /** The tool, prompt, resource or task that the message names, if any. */
  readonly name: string | undefined;
}

/** The parts of a request that routes match, besides host and path. */
export interface RequestFacts {
  /** The method is as received, because HTTP methods are case-sensitive. */
  readonly method: string;
  /** A request may have no message. It is `unread` if the body, which may have one, was not read yet. */
  readonly message: McpMessage | undefined | 'unread';
}

/** The facts of a request whose body was read if a route depends on it. */
export interface KnownFacts extends RequestFacts {
  readonly message: McpMessage | undefined;
}

/** A POST without a message. */
export const NO_MESSAGE: KnownFacts = { method: 'POST', message: undefined };
