/** The URL at which users consent in tests without a consent site. It is never opened. */
export const CONSENT_URL = 'https://consent.example.com/some/opaque/path?ticket=t-1';

export const CONSENT_REFUSAL = {
  kind: 'response',
  status: 400,
  body: {
    error: 'interaction_required',
    error_description: `The user must authenticate at ${CONSENT_URL}`,
    interaction_uri: CONSENT_URL,
  },
} as const;

export const INTERACTION = { hosts: ['consent.example.com'] };

const META = 'io.modelcontextprotocol';

export interface CallFields {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly capabilities?: object;
}

/** A tool call of MCP revision 2026-07-28, from a client that opens URLs. */
export function modernCall({
  id = 1,
  method = 'tools/call',
  params = { name: 'list', arguments: { count: 1 } },
  capabilities = { elicitation: { url: {} } },
}: CallFields = {}) {
  const _meta = { [`${META}/protocolVersion`]: '2026-07-28', [`${META}/clientCapabilities`]: capabilities };
  const body = JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...params, _meta } });
  const name = typeof params.name === 'string' ? { 'mcp-name': params.name } : {};
  return { headers: { ...headersOf('2026-07-28'), 'mcp-method': method, ...name }, body };
}

/** A message of MCP revision 2025-11-25. */
export function legacyCall({
  id = 1,
  method = 'tools/call',
  params = { name: 'list', arguments: {} },
}: CallFields = {}) {
  return { headers: headersOf('2025-11-25'), body: JSON.stringify({ jsonrpc: '2.0', id, method, params }) };
}

export const MCP_HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

function headersOf(version: string) {
  return { ...MCP_HEADERS, 'mcp-protocol-version': version };
}
