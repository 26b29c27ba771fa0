import type { CredentialSource } from '../secrets/credential.ts';
import type { Listen } from './addresses.ts';
import type { TlsFiles } from './authorization-server.ts';
import { withBrackets } from './brackets.ts';
import { hideKeys } from './hide-keys.ts';
import type { Introspection, SubjectVerification } from './route.ts';

/** Returns the path of a file or the name of a variable as it may be shown. */
export type ShowSource = (source: CredentialSource) => string;

export function writtenTls({ ca, certificate, privateKey }: TlsFiles, show: ShowSource) {
  return { ca: file(ca, show), certificate: file(certificate, show), private_key: file(privateKey, show) };
}

export function file(path: string | undefined, show: ShowSource) {
  return path === undefined ? undefined : { file: show({ file: path }) };
}

export function source(from: CredentialSource | undefined, show: ShowSource) {
  return from && ('file' in from ? { file: show(from) } : { env: show(from) });
}

/** Undefined for an empty list, whose key is not written. */
export function nonEmpty<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length > 0 ? list : undefined;
}

export function writtenVerification({ issuer, audience, jwksUri, introspection }: SubjectVerification) {
  return {
    issuer,
    audience,
    jwks_uri: jwksUri && hideKeys(jwksUri),
    introspection: introspection && writtenIntrospection(introspection),
  };
}

function writtenIntrospection({ authorizationServer, endpoint, cacheMs }: Introspection) {
  return {
    authorization_server: authorizationServer.name,
    endpoint: endpoint && hideKeys(endpoint),
    cache: duration(cacheMs),
  };
}

export function address(listen: Listen): string {
  if (listen.kind === 'unix') return `unix:${listen.path}`;
  return `${withBrackets(listen.host)}:${listen.port}`;
}

const UNITS = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
] as const;

export function duration(ms: number): 0 | string {
  if (ms === 0) return 0;
  const [unit, length] = UNITS.find(([, each]) => ms % each === 0) ?? ['ms', 1];
  return `${ms / length}${unit}`;
}

export function size(bytes: number): number | string {
  const [unit, length] = bytes % 1024 ** 2 === 0 ? ['MiB', 1024 ** 2] : ['KiB', 1024];
  return bytes > 0 && bytes % length === 0 ? `${bytes / length}${unit}` : bytes;
}
