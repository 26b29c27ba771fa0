import { bytesOf, EMPTY, readFields, textOf, writeBytes, writeNumber } from '../protobuf.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import { type AskedRequest, forwardedBy, readEntry, within, writeHeaders } from './check-messages.ts';

const KINDS = {
  request_headers: 2,
  response_headers: 3,
  request_body: 4,
  response_body: 5,
  request_trailers: 6,
  response_trailers: 7,
} as const;
type Kind = keyof typeof KINDS;
/** The messages of a response have these numbers less one. */
const IMMEDIATE = 7;
const METADATA = 8;
const RAW_VALUE = 3;
/** `BodySendMode` */
const NONE = 0;
const BUFFERED = 2;
/** The namespace of the metadata that ties the attempts of a request to its decision. */
const NAMESPACE = 'cambist';
const DECISION = 'decision';

/** Initial metadata with the name of the route. */
export const ROUTE_HEADER = 'x-cambist-route';

/** A message of the data plane about one request. */
export interface ProcessingMessage {
  /** Undefined for a kind that cambist does not know. */
  readonly kind: Kind | undefined;
  readonly headers: readonly Buffer[];
  readonly body: Buffer;
  /** No body follows the headers. */
  readonly isWhole: boolean;
  /** The first message may say in which way the data plane sends bodies. */
  readonly bodyMode: number | undefined;
  /** The data plane ignores the responses. */
  readonly isObserved: boolean;
  /** The name of an earlier decision about the request. Empty: no earlier decision. */
  readonly decision: string;
}

/**
 * Reads an `envoy.service.ext_proc.v3.ProcessingRequest`.
 * @throws {RangeError} if the message is malformed
 * @see https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
 */
export function readProcessing(message: Buffer): ProcessingMessage {
  const [flags, ofHeaders, modes] = [new Map<number, number>(), new Map<number, number>(), new Map<number, number>()];
  const fields = readFields(message, flags);
  const found = (Object.keys(KINDS) as Kind[]).filter((kind) => fields.has(KINDS[kind]));
  const kind = found.length === 1 ? found[0] : undefined;
  const content = readFields(kind === undefined ? EMPTY : bytesOf(fields, KINDS[kind]), ofHeaders);
  readFields(bytesOf(fields, 11), modes);
  return {
    kind,
    headers: kind === 'request_headers' || kind === 'response_headers' ? (within(content, 1).get(1) ?? []) : [],
    body: kind === 'request_body' ? bytesOf(content, 1) : EMPTY,
    isWhole: ofHeaders.get(3) === 1,
    bodyMode: fields.has(11) ? (modes.get(1) ?? NONE) : undefined,
    isObserved: (flags.get(10) ?? 0) !== 0,
    decision: textOf(readFields(valueAt(valueAt(bytesOf(fields, METADATA), NAMESPACE), DECISION)), 3),
  };
}

/** The value of a key in a map, which is the first field. */
function valueAt(message: Buffer, key: string): Buffer {
  const found = (readFields(message).get(1) ?? []).map((entry) => readFields(entry));
  return bytesOf(found.find((entry) => textOf(entry, 1) === key) ?? new Map(), 2);
}

/**
 * The request that a data plane asks about. A data plane that does not wait for the decision, or for the whole body, is refused.
 * @param route as the operator's `initial_metadata` names it
 */
export function processedRequest(message: ProcessingMessage, body: Buffer, route: unknown): AskedRequest {
  const entries = message.headers.map(readEntry);
  const valueOfHeader = (wanted: string): string => entries.find(([name]) => name === wanted)?.[1] ?? '';
  return {
    method: valueOfHeader(':method'),
    url: valueOfHeader(':path'),
    scheme: valueOfHeader(':scheme'),
    host: valueOfHeader(':authority'),
    headers: message.headers,
    body,
    isText: false,
    routeName: typeof route === 'string' ? route : undefined,
    whyUnnamed: `${ROUTE_HEADER} is missing in initial_metadata, or invalid`,
    problem: problemOf(message),
  };
}

function problemOf({ kind, bodyMode, isObserved }: ProcessingMessage): string | undefined {
  if (kind !== 'request_headers') return 'its first message is not request_headers: set request_header_mode to SEND';
  if (isObserved) return 'it does not wait for decisions: turn observability_mode off';
  if (bodyMode === undefined) return 'it does not say how it sends bodies (protocol_config): use a newer Envoy';
  if (bodyMode === NONE || bodyMode === BUFFERED) return undefined;
  return 'it does not wait for the whole body: set request_body_mode to BUFFERED or NONE';
}

/** A body follows, which the decision waits for. */
export function awaitsBody({ bodyMode, isWhole }: ProcessingMessage): boolean {
  return bodyMode === BUFFERED && !isWhole;
}

export function rawHeadersOf({ headers }: ProcessingMessage): string[] {
  return headers.flatMap(readEntry);
}

/** Writes a `ProcessingResponse` that changes nothing. */
export function writeUnchanged(kind: Kind): Buffer {
  return writeBytes(KINDS[kind] - 1, EMPTY);
}

/**
 * Writes the `ProcessingResponse` that lets a request pass.
 * @param decision a name for the attempts of the request
 */
export function writeAllowed(
  kind: 'request_headers' | 'request_body',
  made: OwnResponse,
  removed: readonly string[],
  decision?: string,
): Buffer {
  const names = removed.map((name) => writeBytes(2, name));
  const mutation = Buffer.concat([...writeHeaders(1, forwardedBy(made), RAW_VALUE), ...names]);
  const response = writeBytes(KINDS[kind] - 1, writeBytes(1, writeBytes(2, mutation)));
  if (decision === undefined) return response;
  const values = writeEntry(DECISION, writeBytes(3, decision));
  return Buffer.concat([response, writeBytes(METADATA, writeEntry(NAMESPACE, writeBytes(5, values)))]);
}

function writeEntry(key: string, value: Buffer): Buffer {
  return writeBytes(1, Buffer.concat([writeBytes(1, key), writeBytes(2, value)]));
}

/** Writes the `ProcessingResponse` by which the data plane responds itself. */
export function writeImmediate({ status, headers, body }: OwnResponse): Buffer {
  const mutation = Buffer.concat(writeHeaders(1, headers, RAW_VALUE));
  const parts = [writeBytes(1, writeNumber(1, status)), writeBytes(2, mutation), writeBytes(3, body)];
  return writeBytes(IMMEDIATE, Buffer.concat(parts));
}
