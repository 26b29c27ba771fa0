/** What a request names, taken apart once: whom it was sent to and what it asks for. */
export interface RequestTarget {
  /** Lower case, without port and trailing dot; undefined where the request names none, or more than one. */
  readonly host: string | undefined;
  /** As it came, percent-encoding untouched; undefined where it is no path, or one that could climb out of a prefix. */
  readonly path: string | undefined;
  /** The path as the most lenient server would read it; undefined where that is the path itself. */
  readonly plainPath?: string | undefined;
  /** `''`, or `?` and what follows, as it came. */
  readonly query: string;
}

/** `http://authority` or `https://authority` before a path: the form that a client sends to a forward proxy. */
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)/i;

/** A DNS name has 253 characters at most, a port five. */
const MAX_AUTHORITY_LENGTH = 260;

/**
 * A segment that some server may read as `.` or `..`: dots or encoded dots between slashes, encoded slashes or backslashes,
 * with or without path parameters behind them.
 */
const DOT_SEGMENT = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=$|[/\\;]|%2f|%5c|%3b)/i;

/** A fragment, and what is no printable ASCII: some would take a tab in `.<tab>.` away, and see the two dots. */
const NOT_OF_A_PATH = /[^!-~]|#/;

/**
 * Takes a request's target and host apart.
 * @param url the request target: origin-form, or absolute-form, whose authority then wins over `Host`
 * @param hosts every line of `Host`
 * @param named every line of the header that the config asks for the host first; none where it asks none
 * @see RFC 9112 section 3.2
 */
export function parseRequestTarget(
  url: string,
  hosts: readonly string[],
  named: readonly string[] = [],
): RequestTarget {
  const absolute = url.startsWith('/') ? null : ABSOLUTE_FORM.exec(url);
  const host = normaliseHost(named.length > 0 ? only(named) : (absolute?.[1] ?? only(hosts)));
  const rest = absolute === null ? url : url.slice(absolute[0].length);
  const mark = rest.indexOf('?');
  const path = mark === -1 ? rest : rest.slice(0, mark);
  const query = mark === -1 ? '' : rest.slice(mark);
  const checked = checkedPath(absolute !== null && path === '' ? '/' : path);
  const plain = checked === undefined ? undefined : plainPath(checked);
  // Dots with something behind them that is read away.
  if (plain !== undefined && DOT_SEGMENT.test(plain)) return { host, path: undefined, query };
  return { host, path: checked, plainPath: plain, query };
}

/** The authority that a client sent a request to, as received. Undefined if it names none, or several. */
export function addressedAuthority(url: string, hosts: readonly string[]): string | undefined {
  return url.startsWith('/') ? only(hosts) : (ABSOLUTE_FORM.exec(url)?.[1] ?? only(hosts));
}

/** A name that is said twice names nobody. */
function only(values: readonly string[]): string | undefined {
  return values.length === 1 ? values[0] : undefined;
}

function checkedPath(path: string): string | undefined {
  if (!path.startsWith('/') || NOT_OF_A_PATH.test(path) || DOT_SEGMENT.test(path)) return undefined;
  return path;
}

/** Anything that a server might read away or in another way: escapes, path parameters, backslashes, empty segments. */
const NOT_PLAIN = /[%;\\]|\/\//;
/** Escapes of printable ASCII; a percent sign stays, or it would make an escape of what comes after it. */
const PRINTABLE_ESCAPE = /%(?:2[1-46-9a-f]|[3-6][0-9a-f]|7[0-9a-e])/gi;
/** Where a segment ends for some: at path parameters, at what looks like a query or a fragment, at a zero byte. */
const SEGMENT_END = /[;?#]|%00/;
/** Escaped white space, which some take away at an end. */
const BLANK_ESCAPES = new Set(['%20', '%09', '%0a', '%0d']);

function plainPath(path: string): string | undefined {
  if (!NOT_PLAIN.test(path)) return undefined;
  const segments = path
    .replace(PRINTABLE_ESCAPE, (escaped) => String.fromCharCode(Number.parseInt(escaped.slice(1), 16)))
    .split(/[/\\]/)
    .map(plainSegment);
  const plain = segments.filter((segment, index) => index === 0 || index === segments.length - 1 || segment !== '');
  const joined = plain.join('/');
  return joined === path ? undefined : joined;
}

/** Without a regular expression that looks for repeated escapes at an end: that takes time with the square of them. */
function plainSegment(segment: string): string {
  const cut = segment.search(SEGMENT_END);
  let end = cut === -1 ? segment.length : cut;
  while (end >= 3 && BLANK_ESCAPES.has(segment.slice(end - 3, end).toLowerCase())) end -= 3;
  return segment.slice(0, end);
}

/** The last authority that was read, since the next request mostly names it as well. */
let known: { readonly authority: string | undefined; readonly host: string | undefined } = {
  authority: undefined,
  host: undefined,
};

/** A host as routes are matched by: lower case, no user information, no port, no trailing dot. */
function normaliseHost(authority: string | undefined): string | undefined {
  if (authority !== known.authority) {
    const kept = authority && ownText(authority);
    known = { authority: kept, host: readHost(kept) };
  }
  return known.host;
}

/** A part of a URL holds all of it in memory, and somebody's token may be in there. */
function ownText(text: string): string {
  return Buffer.from(text).toString();
}

/** The host of an authority in lower case, without port and trailing dot. Undefined if it is missing or malformed. */
export function readHost(authority: string | undefined): string | undefined {
  if (authority === undefined || authority.length > MAX_AUTHORITY_LENGTH || authority.includes('@')) return undefined;
  const host = authority.trim().toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
  return host === '' ? undefined : host;
}
