import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  type CallToolResult,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { type AgentSdk, fill, REPLY, textOf } from './agent-client.ts';

export const SDK_V1: AgentSdk = {
  name: 'TypeScript SDK v1',
  sessions: true,
  async connect(url, token) {
    const client = new Client({ name: 'agent', version: '1.0.0' }, { capabilities: { sampling: {}, elicitation: {} } });
    const updated: string[] = [];
    client.setRequestHandler(CreateMessageRequestSchema, () => ({
      role: 'assistant',
      model: 'none',
      content: { type: 'text', text: REPLY },
    }));
    client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({ action: 'accept', content: fill(params) }));
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updated.push(params.uri));
    const transport = new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers: { authorization: `Bearer ${token}` } },
    });
    // The SDK's class does not match its interface under exactOptionalPropertyTypes.
    await client.connect(transport as Transport);
    return {
      updated,
      sessionId: () => transport.sessionId,
      listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
      call: async (name, args = {}, { onProgress, signal } = {}) => {
        const result = await client.callTool({ name, arguments: args }, undefined, {
          ...(signal !== undefined && { signal }),
          ...(onProgress !== undefined && { onprogress: ({ progress }) => onProgress(progress) }),
        });
        return textOf((result as CallToolResult).content);
      },
      watch: async (uri) => {
        await client.subscribeResource({ uri });
      },
      close: async () => {
        // A server that lost the session responds with 404.
        await transport.terminateSession().catch(() => {});
        await client.close();
      },
    };
  },
};
