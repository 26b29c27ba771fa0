/** Tells whether a path contains `.` or `..` as a segment, plain or percent-encoded. */
export function hasDotSegments(path: string): boolean {
  return path.split('/').some((segment) => /^(?:\.|%2e){1,2}(?:;|%3b|$)/i.test(segment));
}

/** Parts that servers drop or read differently: escapes, path parameters, backslashes and empty segments. */
const NOT_PLAIN = /[%;\\]|\/\//;
/** Escapes of printable ASCII except `%`, which would turn the text after it into an escape. */
const PRINTABLE_ESCAPE = /%(?:2[1-46-9a-f]|[3-6][0-9a-f]|7[0-9a-e])/gi;
/** Some servers end a segment at path parameters, at what looks like a query or a fragment, or at a NUL. */
const SEGMENT_END = /[;?#]|%00/;
/** Escaped white space, which some servers trim. */
const BLANK_ESCAPES = new Set(['%20', '%09', '%0a', '%0d']);

/** The path as the most lenient server reads it. Undefined if that is the path itself. */
export function plainPath(path: string): string | undefined {
  if (!NOT_PLAIN.test(path)) return undefined;
  const segments = path
    .replace(PRINTABLE_ESCAPE, (escaped) => String.fromCharCode(Number.parseInt(escaped.slice(1), 16)))
    .split(/[/\\]/)
    .map(plainSegment);
  const plain = segments.filter((segment, index) => index === 0 || index === segments.length - 1 || segment !== '');
  const joined = plain.join('/');
  return joined === path ? undefined : joined;
}

/** Not a regular expression for escapes at the end, because it would take quadratic time. */
function plainSegment(segment: string): string {
  const cut = segment.search(SEGMENT_END);
  let end = cut === -1 ? segment.length : cut;
  while (end >= 3 && BLANK_ESCAPES.has(segment.slice(end - 3, end).toLowerCase())) end -= 3;
  return segment.slice(0, end);
}

/** Prefix of the path of a resource's metadata (RFC 9728 section 3.1). */
export const WELL_KNOWN = '/.well-known/oauth-protected-resource';

/** The path of the resource whose metadata a path has. Undefined for every other path. */
export function describedPath(path: string | undefined): string | undefined {
  if (path?.startsWith(WELL_KNOWN) !== true) return undefined;
  const rest = path.slice(WELL_KNOWN.length);
  if (rest === '') return '/';
  return rest.startsWith('/') ? rest : undefined;
}
