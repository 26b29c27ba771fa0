import { withBrackets } from '../host-names.ts';
import type { SnippetRoute, Target } from './snippet-facts.ts';

/** Headers by which a client could tell the backend another address, host or path than its own. The data plane sets some of them. */
export const FORWARDED: readonly string[] = [
  'forwarded',
  'x-forwarded-method',
  'x-forwarded-uri',
  'x-forwarded-port',
  'x-forwarded-prefix',
  'x-forwarded-server',
];

export function addressOf({ host, port }: Target): string {
  return `${withBrackets(host)}:${port}`;
}

export function schemeOf({ tls }: Target): 'http' | 'https' {
  return tls === undefined ? 'http' : 'https';
}

export function urlOf(target: Target): string {
  return `${schemeOf(target)}://${addressOf(target)}`;
}

/** The headers that carry credentials to the backends. */
export function carriersOf(routes: readonly SnippetRoute[]): readonly string[] {
  return [...new Set(routes.flatMap(({ credentialHeader }) => credentialHeader ?? []))];
}

/** Joins the lines of a config that are not empty. */
export function lines(indent: string, ...each: readonly (string | undefined | false)[]): string {
  return each.map((line) => (line ? `${indent}${line}\n` : '')).join('');
}

/** A data plane has one place for a path. Routes that differ by method or message share it. */
export function onePerPath(routes: readonly SnippetRoute[]): SnippetRoute[] {
  return routes.filter(({ host, path }, at) => routes.findIndex((r) => r.host === host && r.path === path) === at);
}

/** The path of a route in a regular expression, without a slash at its end. */
export function prefixOf({ path }: SnippetRoute): string {
  return path === '/' ? '' : escaped(path);
}

/** A text in a regular expression. */
export function escaped(text: string): string {
  return text.replace(/[$()*+.?[\\\]^{|}]/g, '\\$&');
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
