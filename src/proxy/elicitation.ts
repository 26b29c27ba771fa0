import { randomUUID } from 'node:crypto';
import type { Route } from '../config/route.ts';
import { type CambistError, detailOf } from '../errors.ts';
import { CONSENT_STATE } from '../routing/request-state.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { CONSENT_INPUT, RETRY_FIELDS } from './consent.ts';
import { headerValues } from './headers.ts';
import { isMcpPost, responseIdOf } from './mcp-error.ts';
import type { OwnResponse } from './own-response.ts';
import type { RequestRecord } from './request-record.ts';

/** URLElicitationRequired of MCP 2025-11-25. */
const URL_REQUIRED = -32042;
const WITH_URL_ERROR = '2025-11-25';
const WITH_INPUT_REQUIRED = '2026-07-28';

/** Only these requests may get an input-required result (MCP 2026-07-28). */
const MAY_REQUIRE_INPUT: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);

type Json = Readonly<Record<string, unknown>>;

/**
 * Tells an MCP client to open the URL of a consent, in the client's own protocol. Undefined for all other requests, and for a client
 * that did not declare that it can: they get a problem document with the URL.
 * @see MCP 2026-07-28 "Multi Round-Trip Requests", MCP 2025-11-25 "Elicitation"
 */
export function elicitationOf(error: CambistError, record: RequestRecord): OwnResponse | undefined {
  const { id: requestId, incoming, route, body } = record;
  const content = body?.replay();
  if (!Buffer.isBuffer(content) || error.consentUrl === undefined || route === undefined) return undefined;
  if (!isMcpPost(incoming, route)) return undefined;
  // A body without an id may be too large to be parsed.
  const { id } = responseIdOf(content);
  if (id === undefined || id === null) return undefined;
  const message = parseJsonObject(content.toString('utf8'));
  if (typeof message?.method !== 'string') return undefined;
  const url = error.consentUrl();
  const elicitation = { mode: 'url', url, message: `Your consent is needed before ${backendOf(route)} can be used.` };
  const params = Object(message.params) as Json;
  const versions = headerValues(incoming.rawHeaders, 'mcp-protocol-version');
  const version = message.method === 'initialize' ? params.protocolVersion : versions.join();
  if (version === WITH_URL_ERROR) {
    if (message.method === 'initialize' && !declaresUrls(params.capabilities)) return undefined;
    return respond(requestId, id, { error: urlRequired(error, elicitation, requestId) });
  }
  const isModern = typeof version === 'string' && /^\d{4}-\d\d-\d\d$/.test(version) && version >= WITH_INPUT_REQUIRED;
  if (!isModern || !mayRequireInput(message.method, params)) return undefined;
  const inputRequests = { [CONSENT_INPUT]: { method: 'elicitation/create', params: elicitation } };
  const result = { resultType: 'input_required', inputRequests, requestState: CONSENT_STATE };
  return respond(requestId, id, { result });
}

/** @see MCP 2025-11-25 "URL Elicitation Required Error" */
function urlRequired(error: CambistError, elicitation: Json, requestId: string): Json {
  const { code } = error;
  return {
    code: URL_REQUIRED,
    message: `${code}: ${detailOf(error)}`,
    data: { elicitations: [{ ...elicitation, elicitationId: randomUUID() }], code, request_id: requestId },
  };
}

/** The name by which the authorization server knows the backend: users know no routes, and the upstream may be internal. */
function backendOf({ credential, upstream }: Route): string {
  const [resource = ''] = 'target' in credential ? credential.target.resource : [];
  return (URL.canParse(resource) && new URL(resource).host) || upstream.host;
}

/** Tells whether a request may get a prompt. A retry for the backend may not, because the next retry has no room for its fields. */
function mayRequireInput(method: string, params: Json): boolean {
  const isRetry = Object.keys(params).some((name) => RETRY_FIELDS.has(name));
  const capabilities = (Object(params._meta) as Json)['io.modelcontextprotocol/clientCapabilities'];
  return MAY_REQUIRE_INPUT.has(method) && !isRetry && declaresUrls(capabilities);
}

/** A client without this capability must get no URL elicitation. */
function declaresUrls(capabilities: unknown): boolean {
  const { elicitation } = Object(capabilities) as Json;
  const { url } = Object(elicitation) as Json;
  return typeof url === 'object' && url !== null;
}

function respond(requestId: string, id: string | number, more: Json): OwnResponse {
  return {
    // SDKs read any other status as a fault of the transport.
    status: 200,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', 'x-request-id': requestId },
    body: JSON.stringify({ jsonrpc: '2.0', id, ...more }),
  };
}
