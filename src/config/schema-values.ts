import * as z from 'zod';
import { DURATION, SIZE, TOKEN_TYPES, tokenTypeUrn } from './units.ts';

/** A config is parsed rarely. Compiling a parser would take longer than parsing. */
z.config({ jitless: true });

/** Shown by editors as well. */
type More = { default?: unknown; examples?: unknown[] };
/** Documentation of a key that editors show. */
type About = [description: string, more?: More];

const shown = ([description, more]: About) => ({ description, ...more });

const INLINE_SECRET = 'must not be in the config itself: write { file: /path/to/it } or { env: NAME_OF_VARIABLE }';
const INLINE_FILE = 'must not be in the config itself: write { file: /path/to/it }';

const file = z
  .string()
  .min(1, { error: 'must be the path of a file' })
  .regex(/^[^\0]*$/, { error: 'must be the path of a file' })
  .meta({ description: 'Path of the file, absolute or relative to the folder of the config file.' });

/** Source of a secret: a file or an environment variable. */
export function credentialSource(...about: About) {
  return z
    .strictObject(
      {
        file: file.optional(),
        env: z
          .string()
          .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, {
            error:
              'must be the bare name of an environment variable, without "$" or braces, and never the secret itself',
          })
          .meta({ description: 'Name of the environment variable.' })
          .optional(),
      },
      { error: (issue) => (issue.code === 'invalid_type' && issue.input !== undefined ? INLINE_SECRET : undefined) },
    )
    .meta({ ...shown(about), oneOf: [{ required: ['file'] }, { required: ['env'] }] });
}

/** A file, written as `{ file: … }`. */
export function fileSource(...about: About) {
  return z
    .strictObject(
      { file },
      { error: (issue) => (issue.code === 'invalid_type' && issue.input !== undefined ? INLINE_FILE : undefined) },
    )
    .meta(shown(about));
}

export function duration(...about: About) {
  const error = 'must be a duration with a unit, as in 250ms, 5s, 5m or 1h';
  return z.union([z.literal(0), z.string().regex(DURATION, { error })], { error }).meta(shown(about));
}

/** Far above any size in a config file. Each key has its own bound. */
const MAX_SIZE_BYTES = 1024 ** 3;

export function size(...about: About) {
  const error = 'must be a size, as in 64KiB, 1MiB, or a whole number of bytes';
  return z.union([z.int().min(0).max(MAX_SIZE_BYTES), z.string().regex(SIZE, { error })], { error }).meta(shown(about));
}

const entry = z.string().min(1, { error: 'must not be empty' });

export function oneOrMany(...about: About) {
  const error = (issue: { readonly input?: unknown }) =>
    issue.input === undefined ? undefined : 'must be a string or a list of strings';
  return z.union([entry, z.array(entry)], { error }).meta(shown(about));
}

/** One or many, or a map that qualifies them. */
export function oneManyOr<Map extends z.ZodObject>(map: Map, error: string, ...about: About) {
  return z.union([entry, z.array(entry), map], { error }).meta(shown(about));
}

/** Longest list of patterns. Each adds combinations to the route table. */
const MAX_PATTERNS = 100;

/** One pattern or several. A pattern may end in `*`. */
export function patterns(...about: About) {
  const error = 'must be a name, or a prefix followed by "*", without another "*" and without control characters';
  const pattern = z.string().regex(/^(?:[^*\p{Cc}]+\*?|\*)$/u, { error });
  return z
    .union([pattern, z.array(pattern).min(1).max(MAX_PATTERNS)], { error: 'must be a name or a list of names' })
    .meta(shown(about));
}

export function tokenType(...about: About) {
  const error = `must be one of ${TOKEN_TYPES.join(', ')}, or a full URN`;
  const names = z.enum(TOKEN_TYPES);
  const uri = z.string().refine((text) => tokenTypeUrn(text) !== undefined, { error });
  return z.union([names, uri], { error }).meta(shown(about));
}

/** RFC 9110 section 5.1. */
export function headerName(...about: About) {
  return z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, { error: 'must be the name of a header, without ":" and spaces' })
    .meta(shown(about));
}

export const flag = (...about: About) => z.boolean().meta(shown(about));

export const choice = <const Word extends string>(words: readonly Word[], ...about: About) =>
  z.enum(words).meta(shown(about));

/** A whole number from 1. */
export const count = (max: number, ...about: About) => z.int().min(1).max(max).meta(shown(about));

/** At most 100 strings. */
export const list = (...about: About) => z.array(z.string()).max(100).meta(shown(about));

export const scopes = (...about: About) =>
  z.string('must be one string, with a space between scopes').meta(shown(about));

/** @param form message for a value that is not a string */
export function text(description: string, more: More = {}, form?: string) {
  return z
    .string(form)
    .min(1, { error: 'must not be empty' })
    .meta(shown([description, more]));
}

/** PEM files for one TLS peer. */
export function tls(description: string) {
  return z
    .strictObject({
      ca: fileSource('PEM: trusted certificates, instead of the well-known ones.').optional(),
      certificate: fileSource('PEM: cambist’s own certificate with its chain, for mutual TLS.').optional(),
      private_key: fileSource('PEM: private key of `certificate`.').optional(),
    })
    .meta({ description });
}
