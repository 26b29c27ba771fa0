import { parseSpiffeId } from '../spiffe/spiffe-id.ts';

/** Longest header that is read. Envoy's own has a few hundred characters, and one with a whole certificate a few thousand. */
const MAX_LENGTH = 16 * 1024;

/** `Key=value`. A value that contains a separator is quoted. */
const FIELD = /^([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)(;|$)/;

/**
 * Reads the SPIFFE ID of the client that a proxy forwards. Only a header of one proxy, with one URI, is clear: a client can send the
 * header as well, and a proxy that appends its own leaves a comma.
 * @param lines every line of the header
 * @returns undefined where it is ambiguous, malformed, or names no workload
 * @see https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert
 */
export function readForwardedId(lines: readonly string[]): string | undefined {
  const [line = ''] = lines;
  if (lines.length > 1 || line.length > MAX_LENGTH) return undefined;
  const uris: string[] = [];
  let rest = line;
  while (rest !== '') {
    const [field = '', key = '', value = ''] = FIELD.exec(rest) ?? [];
    if (field === '') return undefined;
    if (key.toLowerCase() === 'uri') uris.push(value.replace(/^"(.*)"$/, '$1'));
    rest = rest.slice(field.length);
  }
  const [uri, ...others] = uris;
  const id = uri === undefined || others.length > 0 ? undefined : parseSpiffeId(uri);
  return id === undefined || id.path === '' ? undefined : id.id;
}
