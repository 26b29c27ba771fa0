import type { Place } from './place.ts';

/** Headers that belong to one connection or frame a message (RFC 9110 sections 7.6.1 and 8.6): they bear nothing of a user's. */
const RESERVED = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Lower-case name of a header that config gives a role; one that HTTP itself needs is refused. */
export function readHeaderName(written: string, place: Place): string {
  const name = written.toLowerCase();
  if (RESERVED.has(name)) place.error(`"${name}" is a header that HTTP itself needs: name another`);
  return name;
}

export interface NamedHeader {
  readonly name: string;
  readonly place: Place;
}

/** Refuses a header that bears the subject token or the session on one side and something else on the other. */
export function refuseSharedHeaders(
  session: NamedHeader,
  host: NamedHeader | undefined,
  subjects: readonly NamedHeader[],
) {
  if (host?.name === session.name) host.place.error('is the session header as well: name another');
  for (const { name, place } of subjects) {
    if (name === session.name) place.error('bears the subject token and is the session header as well: name another');
    if (name === host?.name) place.error('bears the subject token and is the host header as well: name another');
  }
}
