// Lists and calls a tool with an MCP SDK for TypeScript. The argument chooses it: v1, or v2 with or without negotiation.
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { URL: url, TOKEN } = process.env;
const [, , which] = process.argv;
const options = { requestInit: { headers: { authorization: `Bearer ${TOKEN}` } } };
const info = { name: 'agent', version: '1.0.0' };
const client =
  which === 'v1'
    ? new ClientV1(info)
    : new ClientV2(info, which === 'v2' ? { versionNegotiation: { mode: 'auto' } } : {});
const transport = which === 'v1' ? new TransportV1(new URL(url), options) : new TransportV2(new URL(url), options);
await client.connect(transport);
const { tools } = await client.listTools();
console.log(tools.length > 0 ? 'tools' : 'no tools');
await client.close();
process.exit();
