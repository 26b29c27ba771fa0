import { isIP } from 'node:net';
import { isEveryAddress, type Listen, withBrackets } from '../config/addresses.ts';
import type { SnippetRoute } from './snippet-facts.ts';

/** Headers by which a client could tell the backend another address, host or path than its own. The data plane sets some of them. */
export const FORWARDED: readonly string[] = [
  'forwarded',
  'x-forwarded-method',
  'x-forwarded-uri',
  'x-forwarded-port',
  'x-forwarded-prefix',
  'x-forwarded-server',
];

/** `host:port` at which another program reaches a listener. */
export function addressOf({ host, port }: Extract<Listen, { kind: 'tcp' }>): string {
  if (isEveryAddress(host)) return `${host === '::' ? '[::1]' : '127.0.0.1'}:${port}`;
  return `${withBrackets(host)}:${port}`;
}

/** The name in the listener's certificate, as far as its address tells. @param isName not an address, which nginx and HAProxy do not compare */
export function nameOf({ host }: Extract<Listen, { kind: 'tcp' }>, isName = false): string {
  return isEveryAddress(host) || (isName && isIP(host) !== 0) ? 'cambist' : host;
}

export function schemeOf(listen: Listen): 'http' | 'https' {
  return listen.kind === 'tcp' && listen.tls !== undefined ? 'https' : 'http';
}

/** Host and port of an upstream. */
export function backendOf({ upstream }: Pick<SnippetRoute, 'upstream'>) {
  const { protocol, hostname, port } = new URL(upstream.origin);
  const secure = protocol === 'https:';
  return { secure, hostname, address: `${hostname}:${port === '' ? (secure ? 443 : 80) : port}` };
}

/** A data plane has one place for a path. Routes that differ by method or message share it. */
export function onePerPath(routes: readonly SnippetRoute[]): SnippetRoute[] {
  return routes.filter(({ host, path }, at) => routes.findIndex((r) => r.host === host && r.path === path) === at);
}

/** The path of a route in a regular expression, without a slash at its end. */
export function prefixOf({ path }: Pick<SnippetRoute, 'path'>): string {
  return path === '/' ? '' : path.replace(/[$()*+.?[\\\]^{|}]/g, '\\$&');
}

/**
 * Replacements that put the path of the upstream in place of that of the route, one after the other, as cambist itself does.
 * @param group the first group in the syntax of the data plane
 */
export function rewrites(route: SnippetRoute, group: string): (readonly [pattern: string, replacement: string])[] {
  const { path, upstream } = route;
  const base = upstream.path.replace(/\/$/, '');
  const keepsSlash = base !== upstream.path || base === '';
  if (path !== '/') {
    const prefix = prefixOf(route);
    if (!keepsSlash) return [[`^${prefix}(/.*)?$`, `${base}${group}`]];
    return [
      [`^${prefix}$`, `${path}/`],
      [`^${prefix}(/.*)$`, `${base}${group}`],
    ];
  }
  if (base === '') return [];
  if (keepsSlash) return [['^(/.*)$', `${base}${group}`]];
  return [
    ['^(/.+)$', `${base}${group}`],
    ['^/$', base],
  ];
}

/** The headers that the backend gets from cambist or not at all, besides the one with the credential. */
export function droppedOn({ removed, credentialHeader }: SnippetRoute): string[] {
  return [...new Set([...removed, ...FORWARDED])].filter((name) => name !== credentialHeader);
}
