import type { IncomingMessage } from 'node:http';
import type { McpMessage } from '../routing/conditions.ts';
import { decodeName, readMcpMessage } from '../routing/mcp-message.ts';
import { hidesToken } from '../secrets/like-a-token.ts';
import { type CredentialHeaders, containsToken, headerTokens, sharesText } from './caller-tokens.ts';
import { headerValues, isEncoded, type RawHeaders } from './headers.ts';
import type { RequestBody } from './request-body.ts';

/** The MCP message of a request, as audit records and spans name it. The caller chose all of it but `from`. */
export interface McpCall {
  /** `unread`: the body was compressed, or too large to be kept. */
  readonly from: 'header' | 'body' | 'unread';
  readonly method?: string;
  /** The tool, prompt, resource or task that the message is about. */
  readonly name?: string;
  /** The name repeats a credential of the request, or looks like one. */
  readonly withheld?: true;
  /** The messages of a batch. */
  readonly batch?: Pick<McpCall, 'method' | 'name' | 'withheld'>[];
  /** Why the message in the body cannot be read. */
  readonly problem?: string;
  /** The headers name another message than the body. */
  readonly disagrees?: true;
  readonly protocol_version?: string;
}

/** Longest name of a method, tool, prompt, resource or task. */
const MAX_NAME_LENGTH = 256;
/** Longest part of a batch that is read. */
const MAX_BATCH = 32;
const PROTOCOL_VERSION = /^\d{4}-\d\d-\d\d$/;

/**
 * Reads the MCP message of a request. The body counts more than the headers, because the backend reads the body.
 * @param body as far as it was read; undefined where it was not
 * @returns undefined where the request is not known to have a message
 */
export function readMcpCall(
  { method, rawHeaders }: Pick<IncomingMessage, 'method' | 'rawHeaders'>,
  body: RequestBody | undefined,
  credentialHeaders: CredentialHeaders,
): McpCall | undefined {
  if (method !== 'POST') return undefined;
  const announced = announcedMessage(rawHeaders);
  const content = isEncoded(rawHeaders) ? undefined : body?.replay();
  const hasMessage = content !== undefined && content !== null && mayBeMessage(content);
  if (announced === undefined && !hasMessage) {
    return body !== undefined && content === undefined ? { from: 'unread' } : undefined;
  }
  const tokens = headerTokens(rawHeaders, credentialHeaders);
  const version = protocolVersion(rawHeaders);
  if (!hasMessage) return { from: 'header', ...named(announced, tokens), ...version };
  const { sent, ...rest } = readContent(content, tokens);
  const disagrees = announced !== undefined && !agrees(announced, sent);
  return { from: 'body', ...rest, ...(disagrees && { disagrees }), ...version };
}

/** An escape could hide the name of the member. */
function mayBeMessage(content: Buffer): boolean {
  return content.includes('"jsonrpc"') || content.includes('\\u');
}

function announcedMessage(raw: RawHeaders): McpMessage | undefined {
  const [method] = headerValues(raw, 'mcp-method');
  const [name] = headerValues(raw, 'mcp-name');
  if (method === undefined && name === undefined) return undefined;
  return { method: method?.trim(), name: name === undefined ? undefined : decodeName(name.trim()) };
}

/** A client need not announce a name, but what it announces must be true. */
function agrees(announced: McpMessage, sent: McpMessage | undefined): boolean {
  if (announced.method !== undefined && announced.method !== sent?.method) return false;
  return announced.name === undefined || announced.name === sent?.name;
}

function readContent(content: Buffer, tokens: readonly string[]): Omit<McpCall, 'from'> & { sent?: McpMessage } {
  const reading = readMcpMessage(content);
  if ('message' in reading) return { sent: reading.message, ...named(reading.message, tokens) };
  const batch = readBatch(content);
  if (batch === undefined) return { problem: reading.wrong };
  return { batch: batch.map((message) => named(message, tokens)) };
}

/** The messages of a JSON-RPC batch, which MCP allowed until 2025-06-18. Undefined where the body is something else. */
function readBatch(content: Buffer): McpMessage[] | undefined {
  let messages: unknown;
  try {
    messages = JSON.parse(content.toString('utf8'));
  } catch {
    return undefined;
  }
  return Array.isArray(messages) ? messages.slice(0, MAX_BATCH).map(readPart) : undefined;
}

/** Without method and name where the message cannot be read. */
function readPart(message: unknown): McpMessage {
  const nothing = { method: undefined, name: undefined };
  try {
    const reading = readMcpMessage(Buffer.from(JSON.stringify(message)));
    return 'message' in reading ? reading.message : nothing;
  } catch {
    // It nests so deeply that writing it exhausts the stack.
    return nothing;
  }
}

/** Fails towards less text: a caller could put a credential into a name. */
function named(
  message: McpMessage | undefined,
  tokens: readonly string[],
): Pick<McpCall, 'method' | 'name' | 'withheld'> {
  const { method, name } = message ?? {};
  if ([method, name].some((text) => text !== undefined && isLikeCredential(text, tokens))) return { withheld: true };
  const shown = method === 'resources/read' && name !== undefined ? withoutQuery(name) : name;
  return {
    ...(method !== undefined && { method: bounded(method) }),
    ...(shown !== undefined && { name: bounded(shown) }),
  };
}

function isLikeCredential(text: string, tokens: readonly string[]): boolean {
  return hidesToken(text) || sharesText(text, tokens) || containsToken(text, tokens);
}

/** The query of a resource has arguments, and its authority may have a password. */
function withoutQuery(uri: string): string {
  return uri.replace(/[?#].*/s, '').replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, '$1');
}

function bounded(text: string): string {
  return text.length <= MAX_NAME_LENGTH ? text : `${text.slice(0, MAX_NAME_LENGTH)}…`;
}

function protocolVersion(raw: RawHeaders): Pick<McpCall, 'protocol_version'> {
  const [version = ''] = headerValues(raw, 'mcp-protocol-version');
  return PROTOCOL_VERSION.test(version) ? { protocol_version: version } : {};
}
