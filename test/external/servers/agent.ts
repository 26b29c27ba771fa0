import { type CallResponse, call } from '../../harness/http-call.ts';
import { connectMcpClient } from '../../harness/mcp-client.ts';

function authorized(token: string) {
  return { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
}

/** Calls the backend's tool that returns the claims of the received token. */
export async function whoami(url: string, token: string): Promise<Record<string, unknown>> {
  const client = await connectMcpClient(url, { headers: authorized(token) });
  const claims = JSON.parse(await client.callTool('whoami')) as Record<string, unknown>;
  await client.close();
  return claims;
}

/** Sends one request that the backend receives only if the exchange succeeds. */
export function post(url: string, token: string): Promise<CallResponse> {
  return call(url, { method: 'POST', headers: authorized(token), body: '{}' });
}
