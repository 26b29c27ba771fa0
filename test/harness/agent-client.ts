/** What an agent does with a server, whichever SDK it is written with. */
export interface AgentClient {
  /** Undefined where the revision knows no sessions. */
  sessionId(): string | undefined;
  listTools(): Promise<string[]>;
  /** The text of the tool's answer. */
  call(name: string, args?: Record<string, unknown>, options?: CallHooks): Promise<string>;
  /** Settles when the server took it. */
  watch(uri: string): Promise<void>;
  /** The resources that the server said had changed. */
  updated: string[];
  /** Ends the session as well, where there is one. */
  close(): Promise<void>;
}

export interface CallHooks {
  onProgress?: (progress: number) => void;
  signal?: AbortSignal;
}

/** What the user or the model of these clients says to whatever it is asked. */
export const ANSWER = 'forty-two';

/** An SDK, in one of the ways in which it can speak. */
export interface Speaker {
  name: string;
  /** False for revisions whose servers keep nothing between requests. */
  sessions: boolean;
  /** True of an SDK that may hand over a result before the progress that came ahead of it. */
  progressMayLag?: boolean;
  connect(url: string, token: string): Promise<AgentClient>;
}

export function textOf(content: readonly { type: string }[]): string {
  return content.map((block) => ('text' in block ? String(block.text) : '')).join('');
}

/** The form of an elicitation, filled in. */
export function fill(params: object): Record<string, string> {
  const { properties = {} } = 'requestedSchema' in params ? (params.requestedSchema as { properties?: object }) : {};
  return Object.fromEntries(Object.keys(properties).map((property) => [property, ANSWER]));
}
