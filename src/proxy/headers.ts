import type { IncomingMessage } from 'node:http';

/** Alternating header names and values as received, with their letter case and duplicates. */
export type RawHeaders = readonly string[];

const NONE: readonly string[] = [];

/** All values of one header. @param name lower case */
export function headerValues(raw: RawHeaders, name: string): readonly string[] {
  let values: string[] | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const key = raw[i] as string;
    if (key.length !== name.length || key.toLowerCase() !== name) continue;
    // Most headers occur once, and V8 reserves room for 17 values in an array that grows.
    if (values === undefined) values = [raw[i + 1] as string];
    else values.push(raw[i + 1] as string);
  }
  return values ?? NONE;
}

/** The headers except those with these names. @param names lower case */
export function without(headers: RawHeaders, names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!names.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string);
  }
  return kept;
}

/** Does the client of a GET accept nothing but an event stream? */
export function wantsStream(raw: RawHeaders): boolean {
  return /^\s*text\/event-stream\b[^,]*$/i.test(headerValues(raw, 'accept').join());
}

/** Is the body compressed? Node has removed the white space around a value; any other makes it another coding. */
export function isEncoded(raw: RawHeaders): boolean {
  return headerValues(raw, 'content-encoding').some((coding) => coding !== '' && coding.toLowerCase() !== 'identity');
}

export const REQUEST_ID = 'x-request-id';

/** Does a message have no transfer coding but chunked? cambist offers no other. */
export function isChunkedOrPlain(headers: RawHeaders): boolean {
  const codings = headerValues(headers, 'transfer-encoding');
  return codings.length === 0 || (codings.length === 1 && codings[0]?.toLowerCase() === 'chunked');
}

/**
 * Could another server find the end of a request elsewhere? Servers differ on transfer codings, and on every one in HTTP/1.0.
 * @see RFC 9112 section 6.1
 */
export function hasUnclearFraming({ httpVersion, headers }: IncomingMessage): boolean {
  const coding = headers['transfer-encoding'];
  return coding !== undefined && (httpVersion === '1.0' || coding.toLowerCase() !== 'chunked');
}

/** Kept even if `Connection` lists it, because without it the message would end elsewhere. */
const FRAMING = 'content-length';

/** The header names that `Connection` lists. Undefined if it lists only the usual options. @param known names to add to */
export function connectionOptions(values: readonly string[], known?: Set<string>): Set<string> | undefined {
  let listed = known;
  for (const value of values) {
    if (value === 'keep-alive' || value === 'close') continue;
    listed ??= new Set();
    for (const name of value.toLowerCase().split(',')) listed.add(name.trim());
  }
  listed?.delete(FRAMING);
  return listed;
}
