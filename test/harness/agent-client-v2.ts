import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { type AgentSdk, fill, REPLY, textOf } from './agent-client.ts';

/** The SDK's default: `initialize` and sessions. */
export const SDK_V2_LEGACY: AgentSdk = sdk('TypeScript SDK v2, legacy', 'legacy');
/** Negotiates the revision, which is 2026-07-28 with our servers. */
export const SDK_V2_NEGOTIATED: AgentSdk = sdk('TypeScript SDK v2, negotiated', 'auto');

function sdk(sdkName: string, mode: 'legacy' | 'auto'): AgentSdk {
  return {
    name: sdkName,
    sessions: mode === 'legacy',
    async connect(url, token) {
      const client = new Client(
        { name: 'agent', version: '1.0.0' },
        { capabilities: { sampling: {}, elicitation: {} }, versionNegotiation: { mode } },
      );
      const updated: string[] = [];
      client.setRequestHandler('sampling/createMessage', () => ({
        role: 'assistant',
        model: 'none',
        content: { type: 'text', text: REPLY },
      }));
      client.setRequestHandler('elicitation/create', ({ params }) => ({ action: 'accept', content: fill(params) }));
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updated.push(params.uri));
      const transport = new StreamableHTTPClientTransport(new URL(url), {
        requestInit: { headers: { authorization: `Bearer ${token}` } },
      });
      await client.connect(transport);
      return {
        updated,
        sessionId: () => transport.sessionId,
        listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
        call: async (name, args = {}, { onProgress, signal } = {}) => {
          const result = await client.callTool(
            { name, arguments: args },
            {
              ...(signal !== undefined && { signal }),
              ...(onProgress !== undefined && { onprogress: ({ progress }) => onProgress(progress) }),
            },
          );
          return textOf(result.content);
        },
        watch: async (uri) => {
          if (mode === 'legacy') await client.subscribeResource({ uri });
          else await client.listen({ resourceSubscriptions: [uri] });
        },
        close: async () => {
          // A server that lost the session responds with 404.
          if (mode === 'legacy') await transport.terminateSession().catch(() => {});
          await client.close();
        },
      };
    },
  };
}
