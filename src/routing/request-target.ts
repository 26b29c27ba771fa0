import type { Route } from '../config/route.ts';
import { describedPath, plainPath } from '../request-paths.ts';

/** The target of a request: the host that it was sent to, and the path and query that it requests. */
export interface RequestTarget {
  /** Lower case, without port and trailing dot. Undefined if the request names no host, or more than one. */
  readonly host: string | undefined;
  /** The path as received, with its percent-encoding. One that is invalid or contains dot segments is left out. */
  readonly path: string | undefined;
  /** The path as the most lenient server reads it. Undefined if that is the path itself. */
  readonly plainPath?: string | undefined;
  /** Empty, or the query as received, with its `?`. */
  readonly query: string;
}

/** `http://authority` or `https://authority` before a path, as clients of a forward proxy send it. */
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)/i;

/** A DNS name has at most 253 characters, and a port five. */
const MAX_AUTHORITY_LENGTH = 260;

/**
 * A segment that some server may read as `.` or `..`: plain or encoded dots between slashes, encoded slashes or backslashes. Path
 * parameters may follow.
 */
const DOT_SEGMENT = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=$|[/\\;]|%2f|%5c|%3b)/i;

/** A fragment, and anything but printable ASCII. Some servers remove the tab in `.<tab>.` and then read two dots. */
const NOT_OF_A_PATH = /[^!-~]|#/;

/** Dots, slashes and backslashes in overlong UTF-8, and in the escapes of IIS. Lenient servers decode them (CVE-2017-1000028). */
const DISGUISED =
  /%(?:(?:c0|(?:e0|f0%80|f8%80%80|fc%80%80%80)%80)%a[ef]|(?:c1|(?:e0|f0%80|f8%80%80|fc%80%80%80)%81)%9c|u00(?:2e|2f|5c))/i;

/**
 * Parses the target and host of a request.
 * @param url the request target in origin-form, or in absolute-form, whose authority takes precedence over `Host`
 * @param hosts every line of `Host`
 * @param named every line of the header in `host_header`, which takes precedence over both
 * @see RFC 9112 section 3.2
 */
export function parseRequestTarget(
  url: string,
  hosts: readonly string[],
  named: readonly string[] = [],
): RequestTarget {
  const absolute = url.startsWith('/') ? null : ABSOLUTE_FORM.exec(url);
  const host = normalizeHost(named.length > 0 ? only(named) : (absolute?.[1] ?? only(hosts)));
  const rest = absolute === null ? url : url.slice(absolute[0].length);
  const mark = rest.indexOf('?');
  const path = mark === -1 ? rest : rest.slice(0, mark);
  const query = mark === -1 ? '' : rest.slice(mark);
  const checked = checkedPath(absolute !== null && path === '' ? '/' : path);
  const plain = checked === undefined ? undefined : plainPath(checked);
  // Dots followed by text that a lenient server drops.
  if (plain !== undefined && DOT_SEGMENT.test(plain)) return { host, path: undefined, query };
  return { host, path: checked, plainPath: plain, query };
}

/** `uri-host [ ":" port ]`, which may be empty. @see RFC 9110 section 7.2, RFC 3986 section 3.2.2 */
const HOST = /^(?:\[[\da-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})*)(?::\d*)?$/i;

/** The last valid value. The next request usually has it again. */
let knownHost = '';

/** May a request have this value of `Host`? Some servers read another host in what is invalid, such as `a/b` and `a@b`. */
export function isValidHost(host: string): boolean {
  if (host === knownHost) return true;
  if (!HOST.test(host)) return false;
  knownHost = host;
  return true;
}

/** The authority that a client sent a request to, as received. Undefined if it names none, or several. */
export function addressedAuthority(url: string, hosts: readonly string[]): string | undefined {
  return targetAuthority(url) ?? only(hosts);
}

export function targetAuthority(url: string): string | undefined {
  return url.startsWith('/') ? undefined : ABSOLUTE_FORM.exec(url)?.[1];
}

/** Several values name no host. */
function only(values: readonly string[]): string | undefined {
  return values.length === 1 ? values[0] : undefined;
}

function checkedPath(path: string): string | undefined {
  if (!path.startsWith('/') || NOT_OF_A_PATH.test(path) || DOT_SEGMENT.test(path)) return undefined;
  return path.includes('%') && DISGUISED.test(path) ? undefined : path;
}

/** The resource whose metadata a request asks for. Undefined for every other request. */
export function describedResource(target: RequestTarget): RequestTarget | undefined {
  const path = describedPath(target.path);
  return path === undefined ? undefined : { ...target, path, plainPath: describedPath(target.plainPath) };
}

/** The last authority that was parsed. The next request usually names it again. */
let known: { readonly authority: string | undefined; readonly host: string | undefined } = {
  authority: undefined,
  host: undefined,
};

/** The host that routes match: lower case, without user information, port and trailing dot. */
function normalizeHost(authority: string | undefined): string | undefined {
  if (authority !== known.authority) {
    const kept = authority && ownText(authority);
    known = { authority: kept, host: readHost(kept) };
  }
  return known.host;
}

/** Copies the text. A part of a URL keeps the whole URL in memory, and it may contain a token. */
function ownText(text: string): string {
  return Buffer.from(text).toString();
}

/** The host of an authority in lower case, without port and trailing dot. Undefined if it is missing or malformed. */
export function readHost(authority: string | undefined): string | undefined {
  if (authority === undefined || authority.length > MAX_AUTHORITY_LENGTH || authority.includes('@')) return undefined;
  const host = authority.trim().toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
  return host === '' ? undefined : host;
}

/**
 * Returns the path and query for the upstream. The upstream's path replaces the matched prefix, and the rest stays as received.
 * Scheme and host come from the route, never from the request.
 */
export function upstreamPath(route: Route, target: RequestTarget): string {
  const { match, upstream } = route;
  const path = target.path ?? '/';
  // A route for all paths maps its own root to the upstream's path, without the request's slash at the end.
  const rest = match.path === '/' ? (path === '/' ? '' : path) : path.slice(match.path.length);
  const base = rest.startsWith('/') && upstream.path.endsWith('/') ? upstream.path.slice(0, -1) : upstream.path;
  const joined = base + rest;
  return (joined === '' ? '/' : joined) + target.query;
}
