/** One form field. A name may repeat. */
export type FormField = readonly [name: string, value: string];

/**
 * Encodes a client id or secret for `Authorization: Basic`. Leaves `-_.~` raw, which suits servers that decode and, for
 * ordinary secrets, servers that do not.
 * @see RFC 6749 section 2.3.1
 */
export function formEncode(text: string): string {
  return encodeURIComponent(text)
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
