import * as z from 'zod';
import { type ConfigNode, type Reading, readEach } from '../documents/config-node.ts';
import { nearest } from '../documents/nearest.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import { readHeaderName } from './header-names.ts';
import {
  type About,
  type Key,
  optionalSection,
  type Scope,
  type Values,
  valueKey,
  type Written,
  withFallback,
} from './key.ts';
import type { WrittenFile, WrittenSource } from './sources.ts';
import { type OneOrMany, readScope, toList } from './targets.ts';
import { DURATION, parseDuration, parseSize, SIZE, TOKEN_TYPES, tokenTypeUrn } from './units.ts';

/** Bounds, written as in the config file. */
interface Bounds extends About {
  readonly min?: string;
  readonly max: string;
}

/** Milliseconds. */
export function duration<const Rules extends Bounds>(description: string, rules: Rules) {
  const error = 'must be a duration with a unit, as in 250ms, 5s, 5m or 1h';
  const schema = z.union([z.literal(0), z.string().regex(DURATION, { error })], { error });
  const read = (written: 0 | string, node: ConfigNode) => within(written, node, rules, parseDuration);
  return { ...valueKey(schema, 'duration', description, rules, read), unit: 'Ms' as const };
}

/** Far above any size in a config file. Each key has its own bound. */
const MAX_SIZE_BYTES = 1024 ** 3;

/** Bytes. */
export function size<const Rules extends Bounds>(description: string, rules: Rules) {
  const error = 'must be a size, as in 64KiB, 1MiB, or a whole number of bytes';
  const schema = z.union([z.int().min(0).max(MAX_SIZE_BYTES), z.string().regex(SIZE, { error })], { error });
  const read = (written: number | string, node: ConfigNode) => within(written, node, rules, parseSize);
  return { ...valueKey(schema, 'size', description, rules, read), unit: 'Bytes' as const };
}

/** Parses a well-formed amount, and reports one that is out of bounds. */
function within(
  written: number | string,
  node: ConfigNode,
  { min = '0', max }: Bounds,
  parse: (text: string | number) => number | undefined,
): number {
  const amount = parse(written) ?? 0;
  if (amount < (parse(min) ?? 0)) node.error(`must be at least ${min}`);
  if (amount > (parse(max) ?? 0)) node.error(`must be at most ${max}`);
  return amount;
}

export const nonEmptyText = z.string().min(1, { error: 'must not be empty' });

export function text<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(nonEmptyText, 'text', description, rules, (written: string) => written);
}

/** A text whose form the schema knows. */
export function word<const Rules extends About>(form: RegExp, error: string, description: string, rules = {} as Rules) {
  const schema = z.string().regex(form, { error });
  return valueKey(schema, 'text', description, rules, (written: string) => written);
}

export function flag<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(z.boolean(), 'boolean', description, rules, (written: boolean) => written);
}

export function choice<const Word extends string, const Rules extends About>(
  words: readonly Word[],
  description: string,
  rules = {} as Rules,
) {
  const form = words.map((each) => `\`${each}\``).join(' ');
  return valueKey(z.enum(words), form, description, rules, (written: Word) => written);
}

export function count<const Rules extends About>(max: number, description: string, rules = {} as Rules) {
  return valueKey(z.int().min(1).max(max), 'number', description, rules, (written: number) => written);
}

export function oneOrMany<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(oneOrManySchema, 'text or list', description, rules, (written: OneOrMany) => toList(written));
}

export const oneOrManySchema = z.union([nonEmptyText, z.array(nonEmptyText)], {
  error: (issue: { readonly input?: unknown }) =>
    issue.input === undefined ? undefined : 'must be a string or a list of strings',
});

/** At most 100 strings, each of which is read. Empty without the key. */
export function list<Entry, const Rules extends About>(
  description: string,
  rules: Rules,
  read: (text: string, node: ConfigNode, scope: Scope) => Reading<Entry>,
  entry: z.ZodType = z.string(),
) {
  const each = (written: readonly (string | undefined)[], node: ConfigNode, scope: Scope): readonly Entry[] =>
    readEach(written, node, (text, at) => read(text, at, scope));
  return withFallback(valueKey(z.array(entry).max(100), 'list', description, rules, each), []);
}

/** RFC 9110 section 5.1. */
export const headerNameSchema = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, { error: 'must be the name of a header, without ":" and spaces' });

/** In lower case. */
export function headerName<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(headerNameSchema, 'header name', description, rules, readHeaderName);
}

/** Joined by single spaces. `''` for none. */
export function scopes<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(z.string('must be one string, with a space between scopes'), 'text', description, rules, readScope);
}

/** Longest list of patterns. Each adds combinations to the route table. */
const MAX_PATTERNS = 100;

/** One pattern or several. A pattern may end in `*`. */
export function patterns<const Rules extends About>(description: string, rules = {} as Rules) {
  const error = 'must be a name, or a prefix followed by "*", without another "*" and without control characters';
  const pattern = z.string().regex(/^(?:[^*\p{Cc}]+\*?|\*)$/u, { error });
  const many = z.array(pattern).min(1).max(MAX_PATTERNS);
  const schema = z.union([pattern, many], { error: 'must be a name or a list of names' });
  return valueKey(schema, 'text or list', description, rules, distinct);
}

export function distinct(written: OneOrMany): readonly string[] {
  return [...new Set(toList(written))];
}

/** A full URN. */
export function tokenType<const Rules extends About>(description: string, rules = {} as Rules) {
  const error = `must be one of ${TOKEN_TYPES.join(', ')}, or a full URN`;
  const uri = z.string().refine((written) => tokenTypeUrn(written) !== undefined, { error });
  const schema = z.union([z.enum(TOKEN_TYPES), uri], { error });
  return valueKey(schema, 'token type', description, rules, (written: string) => tokenTypeUrn(written));
}

const INLINE_SECRET = 'must not be in the config itself: write { file: /path/to/it } or { env: NAME_OF_VARIABLE }';
const INLINE_FILE = 'must not be in the config itself: write { file: /path/to/it }';

const path = z
  .string()
  .regex(/^[^\0]+$/, { error: 'must be the path of a file' })
  .meta({ description: 'Path of the file, absolute or relative to the folder of the config file.' });

const variable = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, {
    error: 'must be the bare name of an environment variable, without "$" or braces, and never the secret itself',
  })
  .meta({ description: 'Name of the environment variable.' });

/** The value in the place of its source is not quoted. */
const inline = (error: string) => ({
  error: (issue: { readonly code?: string; readonly input?: unknown }) =>
    issue.code === 'invalid_type' && issue.input !== undefined ? error : undefined,
});

const fileOrVariable = z
  .strictObject({ file: path.optional(), env: variable.optional() }, inline(INLINE_SECRET))
  .meta({ oneOf: [{ required: ['file'] }, { required: ['env'] }] });

/** A file that is written as `{ file: … }`. */
export const fileSchema = z.strictObject({ file: path }, inline(INLINE_FILE));

/** A secret in a file or an environment variable. @param minLength in characters, of a key */
export function credentialSource<const Rules extends About>(description: string, rules = {} as Rules, minLength = 0) {
  return valueKey(fileOrVariable, 'secret', description, rules, readSource<WrittenSource>(minLength));
}

export function fileSource<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(fileSchema, '`{ file }`', description, rules, readSource<WrittenFile>());
}

function readSource<Source extends WrittenSource>(minLength = 0) {
  return (written: Source, node: ConfigNode, { sources }: Scope) => sources.credential(written, node, minLength);
}

/** A token in a file, of which the path alone is written. */
export function tokenFile<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(
    nonEmptyText,
    'file',
    description,
    rules,
    (written: string, node, { sources }): CredentialSource => sources.fileSource(written, node),
  );
}

export function folder<const Rules extends About>(description: string, rules = {} as Rules) {
  const schema = z.string().regex(/^[^\0]+$/, { error: 'must be the path of a folder' });
  return valueKey(schema, 'folder', description, rules, (written: string, _node, { sources }) =>
    sources.folder(written),
  );
}

/** Reports that an SVID needs the agent. @returns its socket */
export function spiffeAgent(node: ConfigNode, { spiffe }: Scope): string | undefined {
  if (spiffe === undefined && !node.broken) node.error('needs an SVID of cambist: set spiffe.socket');
  return spiffe;
}

interface WrittenSvid {
  readonly file?: CredentialSource | undefined;
  readonly from?: string | undefined;
  readonly audience?: string | undefined;
}

/** Keys of a token that is a JWT-SVID of cambist. */
export const jwtSvidAudience = text('`aud` of the JWT-SVID, for `from: spiffe`.', { page: 'spiffe.md#tokens' });

/** The token of a file, or a JWT-SVID. Undefined after an error, and where there is neither. */
export function ownToken({ file, from, audience }: WrittenSvid, node: ConfigNode, scope: Scope) {
  if (file !== undefined && from !== undefined) node.error('has both "file" and "from": remove one');
  if (from !== 'spiffe') {
    if (audience !== undefined) node.at('audience').error('has no meaning without from: spiffe: remove it', 'key');
    return file;
  }
  if (audience === undefined) node.missing('audience', 'a JWT-SVID is for the server that receives it');
  const spiffe = spiffeAgent(node.at('from'), scope);
  return spiffe === undefined || audience === undefined ? undefined : { spiffe, audience };
}

/** A PEM file. Its path is the value. */
export function pemFile<const Rules extends About>(description: string, rules = {} as Rules) {
  const read = ({ file }: WrittenFile, node: ConfigNode, { sources }: Scope) =>
    file === undefined ? undefined : sources.file(file, node.at('file'));
  return valueKey(fileSchema, '`{ file }`', description, rules, read);
}

interface ScopeWithServers extends Scope {
  readonly servers: ReadonlyMap<string, unknown>;
  readonly serversWithFrom?: ReadonlySet<string>;
}

/** The name of an authorization server. An unknown one is an error. */
export function serverName<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(nonEmptyText, 'name', description, rules, (written: string, node, scope: ScopeWithServers) => {
    const names = [...scope.servers.keys()];
    const meant = nearest(written, names);
    const known =
      names.length === 0 ? 'define it under authorization_servers' : `known servers are ${names.join(', ')}`;
    const fix = meant === undefined ? known : `did you mean "${meant}"?`;
    if (scope.serversWithFrom?.has(written)) node.error('the named server has "from" itself: name one without it');
    else if (!scope.servers.has(written) && !node.broken) node.error(`unknown authorization server: ${fix}`);
    return written;
  });
}

const tlsKeys = {
  ca: pemFile('PEM: trusted certificates, instead of the well-known ones.', { without: 'the well-known ones' }),
  certificate: pemFile('PEM: cambist’s own certificate with its chain, for mutual TLS.'),
  private_key: pemFile('PEM: private key of `certificate`. Set both or neither.'),
};

export interface TlsFiles extends Values<typeof tlsKeys> {
  /** The certificate and its key are those of cambist's SVID. */
  readonly spiffe?: boolean;
  /** No link may lead out of these folders. */
  readonly within?: readonly string[];
}

export function pathsOf({ ca, certificate, privateKey }: TlsFiles): string[] {
  return [ca, certificate, privateKey].filter((path) => path !== undefined);
}

/** Tells whether connections present a certificate of cambist. */
export function hasCertificate(tls: TlsFiles | undefined): boolean {
  return tls?.certificate !== undefined || tls?.spiffe === true;
}

export function tls(description: string): Key<Written<typeof tlsKeys>, TlsFiles | undefined> {
  return optionalSection(description, tlsKeys, {
    check(_values, { node }, written) {
      for (const [key, other] of [
        ['certificate', 'private_key'],
        ['private_key', 'certificate'],
      ] as const) {
        if (written[key] !== undefined && written[other] === undefined && !node.at(other).broken) {
          node.error(`has "${key}" without "${other}": set both, or remove it`);
        }
      }
    },
  });
}
