import * as z from 'zod';
import { DURATION, SIZE, TOKEN_TYPES, tokenTypeUrn } from './units.ts';

/** A file is parsed once in a while: to write and compile a parser of its own for it would take longer than to parse it. */
z.config({ jitless: true });

/** What an editor shows of a key: its meaning, and what holds where it is left out. */
interface About {
  description: string;
  default?: unknown;
  examples?: unknown[];
}

const INLINE = 'a secret is never written into the config: use { file: /path/to/it } or { env: NAME_OF_VARIABLE }';

const file = z
  .string()
  .min(1, { error: 'must be the path of a file' })
  .regex(/^[^\0]*$/, { error: 'must be the path of a file' })
  .meta({ description: 'Path of the file; a relative one starts at the folder of the config file.' });

/** Where a secret lies: a file or an environment variable. */
export function credentialSource(about: About) {
  return z
    .strictObject(
      {
        file: file.optional(),
        env: z
          .string()
          .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'must be the name of an environment variable, not a value' })
          .meta({ description: 'Name of the environment variable.' })
          .optional(),
      },
      { error: (issue) => (issue.code === 'invalid_type' && issue.input !== undefined ? INLINE : undefined) },
    )
    .meta({ ...about, oneOf: [{ required: ['file'] }, { required: ['env'] }] });
}

/** A file that is named as `{ file: … }`. */
export function fileSource(about: About) {
  return z
    .strictObject(
      { file },
      { error: (issue) => (issue.code === 'invalid_type' && issue.input !== undefined ? INLINE : undefined) },
    )
    .meta({ ...about });
}

export function duration(about: About) {
  const error = 'must be a duration with its unit, as in 250ms, 5s, 5m or 1h';
  return z.union([z.literal(0), z.string().regex(DURATION, { error })], { error }).meta({ ...about });
}

/** No size in a config file is near it; each key has a bound of its own. */
const MAX_SIZE_BYTES = 1024 ** 3;

export function size(about: About) {
  const error = 'must be a size, as in 64KiB, 1MiB, or a whole number of bytes';
  return z.union([z.int().min(0).max(MAX_SIZE_BYTES), z.string().regex(SIZE, { error })], { error }).meta({ ...about });
}

const entry = z.string().min(1, { error: 'must not be empty' });

export function oneOrMany(about: About) {
  const error = (issue: { readonly input?: unknown }) =>
    issue.input === undefined ? undefined : 'must be a string or a list of strings';
  return z.union([entry, z.array(entry)], { error }).meta({ ...about });
}

/** One or many, or a map that qualifies them. */
export function oneManyOr<Map extends z.ZodObject>(map: Map, error: string, about: About) {
  return z.union([entry, z.array(entry), map], { error }).meta({ ...about });
}

/** Longest list of patterns: each stands for requests of its own. */
const MAX_PATTERNS = 100;

/** One pattern or several: text that may end in `*`. */
export function patterns(about: About) {
  const error = 'must be a name, or a beginning with one "*" after it; no other "*", and no control characters';
  const pattern = z.string().regex(/^(?:[^*\p{Cc}]+\*?|\*)$/u, { error });
  return z
    .union([pattern, z.array(pattern).min(1).max(MAX_PATTERNS)], { error: 'must be a name or a list of names' })
    .meta({ ...about });
}

export function tokenType(about: About) {
  const error = `must be one of ${TOKEN_TYPES.join(', ')}, or a full URN`;
  const names = z.enum(TOKEN_TYPES);
  const uri = z.string().refine((text) => tokenTypeUrn(text) !== undefined, { error });
  return z.union([names, uri], { error }).meta({ ...about });
}

/** RFC 9110 section 5.1. */
export function headerName(about: About) {
  return z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, { error: 'must be the name of a header, without ":" and spaces' })
    .meta({ ...about });
}

/** @param form what is said of a value of another kind, where it is more than that it must be a string */
export function text(about: About, form?: string) {
  return z
    .string(form)
    .min(1, { error: 'must not be empty' })
    .meta({ ...about });
}

/** PEM files for one TLS peer. */
export function tls(description: string) {
  return z
    .strictObject({
      ca: fileSource({ description: 'PEM: the certificates to trust in place of the well-known ones.' }).optional(),
      certificate: fileSource({ description: 'PEM: our own certificate with its chain (mutual TLS).' }).optional(),
      private_key: fileSource({ description: 'PEM: the private key of `certificate`.' }).optional(),
    })
    .meta({ description });
}
