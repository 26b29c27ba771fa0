import { type NodeMcpRequestHandler, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import type { JWTPayload } from 'jose';

/** Serves requests of MCP revision 2026-07-28, which has no sessions. Has the tool `whoami` only. */
export function createStatelessHandler(name: string): NodeMcpRequestHandler {
  return toNodeHandler(
    createMcpHandler(() => {
      const server = new McpServer({ name, version: '1.0.0' }, { capabilities: { tools: {} } });
      server.registerTool('whoami', { description: 'Returns the claims of the received token.' }, ({ http }) => {
        const { sub, aud, act, scope } = (http?.authInfo?.extra?.claims ?? {}) as JWTPayload;
        return { content: [{ type: 'text', text: JSON.stringify({ server: name, sub, aud, act, scope }) }] };
      });
      return server;
    }),
  );
}
