import { bytesOf, EMPTY, type Fields, readFields, textOf, writeBytes, writeNumber } from '../protobuf.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import { isHeader } from '../transport/http1/write-request.ts';
import { REMOVAL } from './decide.ts';
import { own, type Reported, unclear } from './report.ts';

/** The request that a data plane asks about by gRPC. */
export interface AskedRequest {
  readonly method: string;
  /** Path and query, undecoded. */
  readonly url: string;
  readonly scheme: string;
  /** Empty: it is among the headers. */
  readonly host: string;
  readonly headers: readonly Buffer[];
  readonly body: Buffer;
  readonly isText: boolean;
  /** The operator's own name of the route, which no client can set. */
  readonly routeName: string | undefined;
  /** The reason where the name is missing or invalid. It says where the operator sets the name. */
  readonly whyUnnamed: string;
  /** Why the data plane gets no decision. */
  readonly problem?: string | undefined;
}

const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/;
/** Visible characters: Node's parser of HTTP accepts no others. */
const TARGET = /^\/[!-~\x80-\xff]*$/;
const VALUE = /^[\t -~\x80-\xff]*$/;
/** That of a team's route begins with the name of the team. */
const ROUTE_NAME = /^[a-z0-9-]+(?:\/[a-z0-9-]+)?$/;

/**
 * Reads an `envoy.service.auth.v3.CheckRequest`.
 * @throws {RangeError} if the message is malformed
 * @see https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/attribute_context.proto
 */
export function readCheckRequest(message: Buffer): AskedRequest {
  const attributes = within(readFields(message), 1);
  const http = within(within(attributes, 4), 2);
  const raw = bytesOf(http, 12);
  const text = bytesOf(http, 11);
  const isText = raw.length === 0 && text.length > 0;
  return {
    method: textOf(http, 2),
    url: textOf(http, 4),
    scheme: textOf(http, 6),
    host: textOf(http, 5),
    // The map joins headers of one name with commas. The list, which `encode_raw_headers` asks for, keeps them apart.
    headers: (http.has(13) ? within(http, 13).get(1) : http.get(3)) ?? [],
    body: isText ? text : raw,
    isText,
    routeName: routeNameOf(attributes),
    whyUnnamed: 'context_extensions has no route, or an invalid one',
  };
}

/** @throws {CambistError} ERR_ROUTE_NOT_FOUND where the request is malformed, or names no route */
export function reportOf(asked: AskedRequest, isNamed: boolean, maxHeaderBytes: number): Reported {
  const { method, url, headers, host, isText, problem, routeName, whyUnnamed } = asked;
  if (problem !== undefined) throw unclear(problem);
  if (!TARGET.test(url)) throw unclear('its path is invalid');
  const rawHeaders = readHeaders(headers, host, maxHeaderBytes);
  if (!isNamed) return { routeName: undefined, method, url, rawHeaders, isText };
  if (routeName === undefined || !ROUTE_NAME.test(routeName)) throw unclear(whyUnnamed);
  return { routeName, method, url, rawHeaders, isText };
}

export function within(fields: Fields, number: number): Fields {
  return readFields(bytesOf(fields, number));
}

/** A name and a value. `raw_value` is the value as it was received. */
export function readEntry(message: Buffer): [name: string, value: string] {
  const fields = readFields(message);
  return [textOf(fields, 1), fields.has(3) ? textOf(fields, 3) : textOf(fields, 2)];
}

function readHeaders(entries: readonly Buffer[], host: string, maxBytes: number): string[] {
  const headers = host === '' ? [] : ['host', host];
  let size = 0;
  for (const entry of entries) {
    const [name, value] = readEntry(entry);
    size += name.length + value.length;
    if (size > maxBytes) throw unclear('its headers are larger than limits.max_header_size');
    // The pseudo-headers of HTTP/2 are the method, path and host. The framing is that of this body.
    if (name.startsWith(':') || isFraming(name) || (host !== '' && isHeader(name, 'host'))) continue;
    if (!TOKEN.test(name) || !VALUE.test(value)) throw unclear('one of its headers is invalid');
    headers.push(name, value);
  }
  return own(headers);
}

function isFraming(name: string): boolean {
  return isHeader(name, 'content-length') || isHeader(name, 'transfer-encoding');
}

/** The name of the route. A request with two names has none. */
function routeNameOf(attributes: Fields): string | undefined {
  const [[, name] = [], ...more] = (attributes.get(10) ?? []).map(readEntry).filter(([key]) => key === 'route');
  return more.length > 0 ? undefined : name;
}

const OVERWRITE_IF_EXISTS_OR_ADD = 2;
/** `append`, for data planes that do not know `append_action`. */
const REPLACES = Buffer.concat([writeBytes(2, EMPTY), writeNumber(3, OVERWRITE_IF_EXISTS_OR_ADD)]);
/** `google.rpc.Code` */
const PERMISSION_DENIED = 7;
const OK = writeBytes(1, EMPTY);
const DENIED = writeBytes(1, writeNumber(1, PERMISSION_DENIED));
/** Headers for the data plane, which the backend does not get. */
const NOT_FORWARDED: ReadonlySet<string> = new Set([REMOVAL, 'cache-control']);

/** @returns the headers that the backend must not get. Undefined: the request is refused */
export function removedBy({ status, headers }: OwnResponse): readonly string[] | undefined {
  return status === 200 ? headers[REMOVAL]?.split(',') : undefined;
}

/** The headers of the response that lets a request pass, which are for the backend. */
export function forwardedBy({ headers }: OwnResponse): OwnResponse['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !NOT_FORWARDED.has(name)));
}

/** Writes an `envoy.service.auth.v3.CheckResponse`. */
export function writeCheckResponse(made: OwnResponse): Buffer {
  const removed = removedBy(made);
  if (removed === undefined) {
    const parts = [
      writeBytes(1, writeNumber(1, made.status)),
      ...writeHeaders(2, made.headers),
      writeBytes(3, made.body),
    ];
    return Buffer.concat([DENIED, writeBytes(2, Buffer.concat(parts))]);
  }
  const names = removed.map((name) => writeBytes(5, name));
  return Buffer.concat([OK, writeBytes(3, Buffer.concat([...writeHeaders(2, forwardedBy(made)), ...names]))]);
}

/** @param number of the field. @param value `RAW_VALUE` where the data plane reads only that */
export function writeHeaders(number: number, headers: OwnResponse['headers'], value = 2): Buffer[] {
  return Object.entries(headers).map(([name, text]) => {
    const header = writeBytes(1, Buffer.concat([writeBytes(1, name), writeBytes(value, text)]));
    return writeBytes(number, Buffer.concat([header, REPLACES]));
  });
}
