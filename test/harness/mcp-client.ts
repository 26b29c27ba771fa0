import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { FetchLike, Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

export interface McpClient {
  sessionId: string | undefined;
  /** Log messages that the server sent of its own accord. */
  announcements: unknown[];
  listTools(): Promise<string[]>;
  /** The text of the tool's answer. */
  callTool(name: string, args?: Record<string, unknown>, onProgress?: (step: number) => void): Promise<string>;
  /** Ends the session as well. */
  close(): Promise<void>;
}

export interface McpClientOptions {
  headers?: Record<string, string>;
  fetch?: FetchLike;
}

/** The official SDK's client over Streamable HTTP, connected and initialized. */
export async function connectMcpClient(url: string, options: McpClientOptions = {}): Promise<McpClient> {
  const { headers = {}, fetch } = options;
  const client = new Client({ name: 'cambist-harness', version: '1.0.0' });
  const announcements: unknown[] = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void announcements.push(params.data));
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers },
    ...(fetch === undefined ? {} : { fetch }),
  });
  // The SDK's classes and its interface disagree on optional properties under exactOptionalPropertyTypes.
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
