const MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const BYTES = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

/** `250ms`, `5s`, `5m`, `1h`, or `0` with or without a unit. */
export const DURATION = /^(?:0|(?:0|[1-9]\d{0,8})(?:ms|s|m|h))$/;

/** `64KiB`, `1MiB`, or plain bytes. */
export const SIZE = /^(?:0|[1-9]\d{0,9}(?:KiB|MiB|GiB)?)$/;

/** Milliseconds of a duration in the config file. Undefined if it is malformed. */
export const parseDuration = amounts(DURATION, { ...MS, '': 1 });

/** Bytes of a size in the config file. Undefined if it is malformed. */
export const parseSize = amounts(SIZE, BYTES);

function amounts(form: RegExp, units: Readonly<Record<string, number>>) {
  return (text: string | number): number | undefined => {
    const [, count, unit = ''] = /^(\d+)(\D*)$/.exec(String(text)) ?? [];
    return form.test(String(text)) ? Number(count) * (units[unit] ?? Number.NaN) : undefined;
  };
}

/** Milliseconds of a default. @throws {TypeError} where it is malformed */
export function defaultDuration(text: string | number): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new TypeError(`malformed default: ${text}`);
  return ms;
}

/** Writes milliseconds as in the config file. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0';
  const [unit, length] = (['h', 'm', 's'] as const)
    .map((each) => [each, MS[each]] as const)
    .find(([, length]) => ms % length === 0) ?? ['ms', 1];
  return `${ms / length}${unit}`;
}

/** Short names of token types (RFC 8693 section 3; `id-jag` comes from the identity assertion grant draft). */
export const TOKEN_TYPES = ['access_token', 'refresh_token', 'id_token', 'saml1', 'saml2', 'jwt', 'id-jag'] as const;

export const TOKEN_TYPE_PREFIX = 'urn:ietf:params:oauth:token-type:';

/** An absolute URI (RFC 3986 section 4.3) in printable ASCII: a scheme, a colon, and no fragment. */
export const ABSOLUTE_URI = /^[A-Za-z][A-Za-z0-9+.-]*:[!"$-;=?-[\]_a-z~%]+$/;

/** The URN of a token type. A full URI is returned as it is. Undefined for other texts. */
export function tokenTypeUrn(text: string): string | undefined {
  if ((TOKEN_TYPES as readonly string[]).includes(text)) return TOKEN_TYPE_PREFIX + text;
  return ABSOLUTE_URI.test(text) ? text : undefined;
}
