import { hash } from 'node:crypto';
import { bareToken } from './token-text.ts';

/** A value that a request to an authorization server carries. */
export interface SentValue {
  /** Form field or header, for messages. */
  readonly name: string;
  readonly value: string;
  /** False for parameters such as `resource`, which are not secret. */
  readonly isCredential: boolean;
  /** Result of `sampleOf`, for a value that many requests send. */
  readonly sample?: string | undefined;
}

/** A form field. A name may repeat. */
export interface FormField extends SentValue {
  /** Its text in the form, of a field that many requests send: to encode these at each exchange would take 2 % of its CPU. */
  readonly encoded: string | undefined;
}

/** Form fields that hold credentials (RFC 8693 section 2.1, RFC 7521 section 4, RFC 6749 section 2.3.1). */
const CREDENTIAL_FIELDS: ReadonlySet<string> = new Set([
  'subject_token',
  'actor_token',
  'assertion',
  'client_secret',
  'client_assertion',
]);

export function formField(name: string, value: string): FormField {
  return { name, value, isCredential: CREDENTIAL_FIELDS.has(name), encoded: undefined };
}

/** A field that is the same in each request, and encoded once. */
export function constantField(name: string, value: string): FormField {
  const field = formField(name, value);
  return { ...field, encoded: encodeField(field) };
}

/** Characters that stay as they are. A token has no others, and encoding its thousand characters one by one takes microseconds. */
const PLAIN = /^[\w.~-]*$/;
/** Characters that `encodeURIComponent` leaves raw, and the space, which it does not encode as `+`. */
const LEFT_RAW_OR_SPACE = /[!'()*]|%20/;

/**
 * Encodes a form.
 * @see RFC 6749 appendix B
 */
export function encodeForm(fields: readonly FormField[]): string {
  let form = '';
  for (const field of fields) form += `${form === '' ? '' : '&'}${field.encoded ?? encodeField(field)}`;
  return form;
}

function encodeField({ name, value }: SentValue): string {
  return `${formEncode(name)}=${formEncode(value)}`;
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

/** Shorter credentials may occur in an unrelated token by chance. */
const MIN_CONTAINED_LENGTH = 16;

/**
 * The values of an `Authorization: Basic` header, with and without form encoding.
 * @param credentials the part after the scheme
 * @see RFC 6749 section 2.3.1, RFC 7617 section 2
 */
export function sentInBasic(credentials: string): SentValue[] {
  const pair = Buffer.from(credentials, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  const [user, password] = [pair.slice(0, colon), pair.slice(colon + 1)];
  const values = [
    { name: 'Authorization', value: credentials, isCredential: true },
    { name: 'Authorization', value: pair, isCredential: true },
    ...Array.from(spellings(password), (value) => ({ name: 'client_secret', value, isCredential: true })),
    ...Array.from(spellings(user), (value) => ({ name: 'client_id', value, isCredential: false })),
  ];
  return values.map((each) => ({ ...each, sample: sampleOf(each.value) }));
}

export function sentInAuthorization(authorization: string): SentValue[] {
  return [authorization, bareToken(authorization)].map((value) => ({
    name: 'Authorization',
    value,
    isCredential: true,
  }));
}

function spellings(text: string): Set<string> {
  return new Set([text, formDecode(text), formEncode(text)]);
}

/**
 * Finds a sent value that an issued token repeats. Equality counts for every value, and containment for credentials.
 * @param earlier digests of the values of an earlier leg
 * @returns the name of the value, or undefined when the token repeats none
 */
export function findRepeated(
  token: string,
  sent: readonly SentValue[],
  earlier?: ReadonlySet<string>,
): string | undefined {
  const issued = new Issued(token);
  const repeated = sent.find((each) => issued.repeats(each));
  if (repeated !== undefined) return repeated.name;
  return earlier !== undefined && earlier.size > 0 && earlier.has(digestOf(issued.canonical()))
    ? 'credentials for the first authorization server'
    : undefined;
}

/** An issued token. Its canonical spelling costs microseconds, and is made only for a value that the token may repeat. */
class Issued {
  readonly #bare: string;
  /** The canonical spelling differs from the text only in the last two characters of each part. */
  readonly #isPlain: boolean;
  #canonical: string | undefined;

  constructor(token: string) {
    this.#bare = bare(token);
    this.#isPlain = !this.#bare.includes('+') && !this.#bare.includes('/') && !this.#bare.includes('=');
  }

  canonical(): string {
    this.#canonical ??= canonical(this.#bare);
    return this.#canonical;
  }

  repeats(sent: SentValue): boolean {
    const { value, isCredential } = sent;
    const mayBeContained = isCredential && value.length >= MIN_CONTAINED_LENGTH;
    if (value === '' || (this.#isPlain && this.#isUnlike(sent, mayBeContained))) return false;
    const issued = this.canonical();
    // The canonical spelling is never longer, so a shorter value cannot be equal.
    if (!mayBeContained && value.length < issued.length) return false;
    const own = canonical(value);
    return issued === own || (mayBeContained && own.length >= MIN_CONTAINED_LENGTH && issued.includes(own));
  }

  /** Can the token not repeat the value, whatever the spelling? */
  #isUnlike({ value, sample: known }: SentValue, mayBeContained: boolean): boolean {
    // The canonical spelling drops at most one character of each part, and parts of one character have a dot between them.
    if (!mayBeContained && value.length < (this.#bare.length - 1) / 2) return true;
    const sample = known ?? sampleOf(value);
    return sample !== undefined && !this.#bare.includes(sample);
  }
}

/**
 * Text that the canonical spelling of a value contains: from the middle of its last part, because spellings differ at the end. In a
 * JWT this is the signature, where no two tokens are alike. Undefined if that part is short.
 */
function sampleOf(value: string): string | undefined {
  const text = bare(value);
  const part = text.slice(startOfLastPart(text));
  let length = part.length;
  while (part[length - 1] === '=') length -= 1;
  if (length < MIN_CONTAINED_LENGTH) return undefined;
  const sample = part.slice(length / 2, (length * 3) / 4);
  if (!/[+/]/.test(sample) || !BASE64.test(part)) return sample;
  return sample.replaceAll('+', '-').replaceAll('/', '_');
}

/** Searches forwards, because V8 then compares many bytes at once. */
function startOfLastPart(text: string): number {
  let start = 0;
  for (let dot = text.indexOf('.'); dot !== -1; dot = text.indexOf('.', start)) start = dot + 1;
  return start;
}

/** Digests for `findRepeated`. They can be kept with an assertion; the values themselves must not be. */
export function digestsOf(sent: readonly SentValue[]): Set<string> {
  return new Set(sent.filter(({ value }) => value !== '').map(({ value }) => digestOf(canonical(value))));
}

/** Removes sent credentials from a text of the server, for the log. */
export function hideCredentials(text: string, sent: readonly SentValue[]): string {
  const credentials = sent.filter(({ value, isCredential }) => isCredential && value !== '').map(({ value }) => value);
  // Longest first: removing a short credential from within a longer one would leave the rest readable.
  credentials.sort((a, b) => b.length - a.length);
  return credentials.reduce((rest, credential) => rest.replaceAll(credential, '[redacted]'), text);
}

function digestOf(text: string): string {
  return hash('sha256', text, 'base64url');
}

const SCHEMES = /^(?:(?:bearer|dpop|basic)\s+)+/i;
const BASE64 = /^[A-Za-z0-9+/_-]+=*$/;

/**
 * One spelling for all spellings of a token: without scheme, white space and padding, and in the URL-safe alphabet.
 * Lenient backends accept each of them as the same token.
 */
function canonical(text: string): string {
  return bare(text).split('.').map(canonicalPart).join('.');
}

function bare(text: string): string {
  return text.trim().replace(SCHEMES, '');
}

function canonicalPart(part: string): string {
  // Decoding also clears the unused bits of the last character.
  return BASE64.test(part) ? Buffer.from(part, 'base64').toString('base64url') : part;
}
