import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { FetchLike, Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

export interface McpClient {
  sessionId: string | undefined;
  /** Log messages from the session's own stream. */
  announcements: unknown[];
  listTools(): Promise<string[]>;
  /** Returns the text of the result. */
  callTool(name: string, args?: Record<string, unknown>, onProgress?: (step: number) => void): Promise<string>;
  /** Closes the session and the client. */
  close(): Promise<void>;
}

export interface McpClientOptions {
  headers?: Record<string, string>;
  fetch?: FetchLike;
}

/** Connects and initializes a client of the official SDK 1.x, over Streamable HTTP. */
export async function connectMcpClient(url: string, options: McpClientOptions = {}): Promise<McpClient> {
  const { headers = {}, fetch } = options;
  const client = new Client({ name: 'cambist-harness', version: '1.0.0' });
  const announcements: unknown[] = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void announcements.push(params.data));
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers },
    ...(fetch === undefined ? {} : { fetch }),
  });
  // The SDK's class does not match its interface under exactOptionalPropertyTypes.
  await client.connect(transport as Transport);
  return {
    sessionId: transport.sessionId,
    announcements,
    listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
    callTool: async (name, args = {}, onProgress) => {
      const result = await client.callTool(
        { name, arguments: args },
        undefined,
        onProgress === undefined ? {} : { onprogress: ({ progress }) => onProgress(progress) },
      );
      return textOf(result.content);
    },
    close: async () => {
      try {
        await transport.terminateSession();
      } finally {
        await client.close();
      }
    },
  };
}

function textOf(content: unknown): string {
  if (!Array.isArray(content)) return '';
  return content.map((part: { text?: unknown }) => (typeof part.text === 'string' ? part.text : '')).join('');
}
