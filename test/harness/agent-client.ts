/** The operations of an agent on a server, the same for every SDK. */
export interface AgentClient {
  /** Undefined if the revision has no sessions. */
  sessionId(): string | undefined;
  listTools(): Promise<string[]>;
  /** Returns the text of the tool's result. */
  call(name: string, args?: Record<string, unknown>, options?: CallHooks): Promise<string>;
  /** Settles when the server accepted the subscription. */
  watch(uri: string): Promise<void>;
  /** The URIs of the resources that changed, by the server's notifications. */
  updated: string[];
  /** Also closes the session, if there is one. */
  close(): Promise<void>;
}

export interface CallHooks {
  onProgress?: (progress: number) => void;
  signal?: AbortSignal;
}

/** The reply of these clients' users and models to every question. */
export const REPLY = 'forty-two';

/** An SDK in one of its modes. */
export interface AgentSdk {
  name: string;
  /** False for revisions without sessions. */
  sessions: boolean;
  /** True if the SDK may deliver a result before earlier progress notifications. */
  progressMayLag?: boolean;
  connect(url: string, token: string): Promise<AgentClient>;
}

export function textOf(content: readonly { type: string }[]): string {
  return content.map((block) => ('text' in block ? String(block.text) : '')).join('');
}

/** Fills in the form of an elicitation. */
export function fill(params: object): Record<string, string> {
  const { properties = {} } = 'requestedSchema' in params ? (params.requestedSchema as { properties?: object }) : {};
  return Object.fromEntries(Object.keys(properties).map((property) => [property, REPLY]));
}
