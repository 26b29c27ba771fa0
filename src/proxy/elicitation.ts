import { randomUUID } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import { type CambistError, detailOf } from '../errors.ts';
import { MAX_NESTED_BYTES } from '../routing/request-state.ts';
import { jsonMembers, parseJsonObject, skipSpace } from '../tokens/token-text.ts';
import { type BoundRequest, type NestedState, ownStateKeys, type StateKeys, sealState } from './consent-state.ts';
import { headerValues } from './headers.ts';
import { isMcpPost, responseIdOf } from './mcp-error.ts';
import type { OwnResponse } from './own-response.ts';
import type { RequestRecord } from './request-record.ts';

export interface ElicitationOptions {
  readonly clock: Clock;
  /** The default is a key of this process. */
  readonly stateKeys?: StateKeys | undefined;
}

/** Names cambist's request for input among those of a backend. */
export const CONSENT_INPUT = 'cambist-consent';

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
export function elicitationOf(
  error: CambistError,
  record: RequestRecord,
  options: ElicitationOptions,
): OwnResponse | undefined {
  const { id: requestId, incoming, route, body, session } = record;
  const content = body?.replay();
  if (!Buffer.isBuffer(content) || error.consentUrl === undefined || route === undefined) return undefined;
  if (!isMcpPost(incoming, route)) return undefined;
  const text = content.toString('utf8');
  const message = parseJsonObject(text);
  const { id } = responseIdOf(content);
  if (message === undefined || id === undefined || id === null || typeof message.method !== 'string') return undefined;
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
  const subject = session?.subject;
  if (!isModern || subject === undefined) return undefined;
  const bound = { subject, route: route.name, method: message.method, params };
  const result = inputRequired(bound, text, elicitation, options);
  return result && respond(requestId, id, { result });
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

/** @returns undefined for a request that may not get such a result, or whose retry cambist could not recognize */
function inputRequired(
  bound: BoundRequest & { readonly params: Json },
  text: string,
  elicitation: Json,
  { clock, stateKeys = ownStateKeys }: ElicitationOptions,
): Json | undefined {
  const meta = Object(bound.params._meta) as Json;
  if (!MAY_REQUIRE_INPUT.has(bound.method)) return undefined;
  if (!declaresUrls(meta['io.modelcontextprotocol/clientCapabilities'])) return undefined;
  const nested = nestedState(text);
  const requestState = nested && sealState(nested, bound, stateKeys, clock.wallMs());
  if (requestState === undefined) return undefined;
  return {
    resultType: 'input_required',
    inputRequests: { [CONSENT_INPUT]: { method: 'elicitation/create', params: elicitation } },
    requestState,
  };
}

/** A client without this capability must get no URL elicitation. */
function declaresUrls(capabilities: unknown): boolean {
  const { elicitation } = Object(capabilities) as Json;
  const { url } = Object(elicitation) as Json;
  return typeof url === 'object' && url !== null;
}

/** The backend's own fields, which the retry must give back. Undefined if they are too large to be kept. */
function nestedState(text: string): NestedState | undefined {
  const params = jsonMembers(text, skipSpace(text, 0)).findLast(({ key }) => key === 'params');
  if (params === undefined || text[params.valueStart] !== '{') return {};
  const members = jsonMembers(text, params.valueStart);
  const textOf = (name: string): string | undefined => {
    const member = members.findLast(({ key }) => key === name);
    return member === undefined ? undefined : text.slice(member.valueStart, member.end);
  };
  const requestState = textOf('requestState');
  const inputResponses = textOf('inputResponses');
  if (Buffer.byteLength((requestState ?? '') + (inputResponses ?? '')) > MAX_NESTED_BYTES) return undefined;
  return { requestState, inputResponses };
}

function respond(requestId: string, id: string | number, more: Json): OwnResponse {
  return {
    // SDKs read any other status as a fault of the transport.
    status: 200,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', 'x-request-id': requestId },
    body: JSON.stringify({ jsonrpc: '2.0', id, ...more }),
  };
}
