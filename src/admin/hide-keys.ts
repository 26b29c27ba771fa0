/** Stands for a part of a URL that could be a secret. */
export const HIDDEN = '[hidden]';

/** A UUID, a long hexadecimal number, or a long run with letters and digits, which words of a path rarely have. */
const KEY_LIKE =
  /^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|.*(?=[^-_.~]*[0-9])(?=[^-_.~]*[A-Za-z])[A-Za-z0-9%+=]{16,}.*)$/i;

/**
 * An http URL for readers without authentication. Hides what could be a key of the backend's API: the query, and path segments
 * that look like one. Other texts are returned as they are.
 */
export function hideKeys(text: string): string {
  const [, origin, path = '', query] = /^(https?:\/\/[^/?#]*)(\/[^?#]*)?(\?.*)?$/is.exec(text) ?? [];
  if (origin === undefined) return text;
  const shown = path
    .split('/')
    .map((segment) => (KEY_LIKE.test(segment) ? HIDDEN : segment))
    .join('/');
  return `${origin}${shown}${query === undefined ? '' : `?${HIDDEN}`}`;
}
