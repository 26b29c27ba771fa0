import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

export type DemoFetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

export interface DemoClient {
  listTools(): Promise<unknown>;
  callTool(name: string): Promise<unknown>;
  close(): Promise<void>;
}

/** The client of the official SDK 2.x. It negotiates the revision, which is 2026-07-28 with the demo's backends. */
export async function connectModernMcpClient(url: string, token: string, fetch: DemoFetch): Promise<DemoClient> {
  const client = new Client({ name: 'agent', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit, fetch }));
  return {
    listTools: () => client.listTools(),
    callTool: (name) => client.callTool({ name, arguments: {} }),
    close: () => client.close(),
  };
}
