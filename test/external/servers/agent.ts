import { type CallResponse, call } from '../../harness/http-call.ts';
import { connectMcpClient } from '../../harness/mcp-client.ts';

function authorized(token: string) {
  return { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
}

/** Calls the backend's tool that says what the token claims that arrived there. */
export async function whoami(url: string, token: string): Promise<Record<string, unknown>> {
  const client = await connectMcpClient(url, { headers: authorized(token) });
  const said = JSON.parse(await client.callTool('whoami')) as Record<string, unknown>;
  await client.close();
  return said;
}

/** One request that would reach the backend if the token did. */
export function ask(url: string, token: string): Promise<CallResponse> {
  return call(url, { method: 'POST', headers: authorized(token), body: '{}' });
}
