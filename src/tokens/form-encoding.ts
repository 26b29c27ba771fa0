/** One form field. A name may repeat. */
export type FormField = readonly [name: string, value: string];

/** Characters that stay as they are. A token has no others, and encoding its thousand characters one by one takes microseconds. */
const PLAIN = /^[\w.~-]*$/;
/** Characters that `encodeURIComponent` leaves raw, and the space, which it does not encode as `+`. */
const LEFT_RAW_OR_SPACE = /[!'()*]|%20/;

/** Fields with values from the config. They are the same in request after request, and no secrets. */
const SETTINGS: ReadonlySet<string> = new Set([
  'grant_type',
  'subject_token_type',
  'actor_token_type',
  'requested_token_type',
  'client_assertion_type',
  'resource',
  'audience',
]);

/** Bounds the memory. With more settings, the others are encoded each time. */
const MAX_SETTINGS = 4096;

const encodedSettings = new Map<string, string>();

/**
 * Encodes a form.
 * @see RFC 6749 appendix B
 */
export function encodeForm(fields: readonly FormField[]): string {
  let form = '';
  for (const [name, value] of fields) {
    const field = SETTINGS.has(name) ? `${name}=${encodeSetting(value)}` : `${formEncode(name)}=${formEncode(value)}`;
    form += form === '' ? field : `&${field}`;
  }
  return form;
}

function encodeSetting(value: string): string {
  const known = encodedSettings.get(value);
  if (known !== undefined) return known;
  const encoded = formEncode(value);
  if (encodedSettings.size < MAX_SETTINGS) encodedSettings.set(value, encoded);
  return encoded;
}

/**
 * Encodes a value of a form, or a client id or secret for `Authorization: Basic`. Leaves `-_.~` raw, which suits servers that
 * decode and, for ordinary secrets, servers that do not.
 * @see RFC 6749 section 2.3.1
 */
export function formEncode(text: string): string {
  if (PLAIN.test(text)) return text;
  const encoded = encodeURIComponent(text.toWellFormed());
  if (!LEFT_RAW_OR_SPACE.test(encoded)) return encoded;
  return encoded
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');
}

/** Decodes a form-encoded text. Returns a text that is not form-encoded unchanged. */
export function formDecode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}
