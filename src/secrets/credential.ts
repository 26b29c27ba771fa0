import { CambistError, errorCode } from '../errors.ts';
import { Secret } from './secret.ts';
import { createSecretFileReader } from './secret-file.ts';

/** The source of a secret, key or token. A file is read again when it changes, so that rotation needs no restart. */
export type CredentialSource = FileSource | { readonly env: string } | JwtSvidSource;

interface FileSource {
  readonly file: string;
  /** No link may lead out of these folders. */
  readonly within?: readonly string[];
}

type FileOrVariable = Exclude<CredentialSource, JwtSvidSource>;

export interface JwtSvidSource {
  /** The socket of the SPIFFE agent. */
  readonly spiffe: string;
  readonly audience: string;
}

type JwtSvidReader = (audience: string) => Promise<Secret>;

/** The SPIFFE agents that cambist is connected to, by their sockets. */
const spiffeAgents = new Map<string, JwtSvidReader>();

/** @returns removes it */
export function addSpiffeAgent(socket: string, read: JwtSvidReader): () => void {
  spiffeAgents.set(socket, read);
  return () => {
    if (spiffeAgents.get(socket) === read) spiffeAgents.delete(socket);
  };
}

/** A key has at least this many characters. A shorter one could be found by trying, and with it the names of entries, or the values behind pseudonyms. */
export const MIN_KEY_LENGTH = 32;

const readSecretFile = createSecretFileReader();
/** The key is the name of the environment variable. */
const fromEnvironment = new Map<string, Secret>();

/**
 * Reads the current value of a secret, key or token, without trailing line ends.
 * @param what its name in messages, as in `client secret of authorization server "keycloak"`
 * @param mustCheck checks the file even if the last check was recent, and so notices a change at once
 * @returns the same `Secret` object while the value is unchanged, so that derived values can be kept with it
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE if it is missing, unreadable, empty or too large
 */
export async function readCredential(source: CredentialSource, what: string, mustCheck = false): Promise<Secret> {
  return currentCredential(source, what, mustCheck);
}

/** Like `readCredential`, and synchronous unless a file has to be read or checked. It throws or rejects with the same errors. */
export function currentCredential(source: CredentialSource, what: string, mustCheck = false): Secret | Promise<Secret> {
  if ('spiffe' in source) return readJwtSvid(source, what);
  if ('env' in source) return notEmpty(readEnvironment(source.env, what), source, what);
  const found = readSecretFile(source.file, mustCheck, source.within);
  if (!(found instanceof Promise)) return notEmpty(found, source, what);
  return readFile(found, source.file, what).then((secret) => notEmpty(secret, source, what));
}

/** A JWT-SVID is never empty. */
function readJwtSvid({ spiffe, audience }: JwtSvidSource, what: string): Promise<Secret> {
  const read = spiffeAgents.get(spiffe);
  if (read === undefined) throw unavailable(`${what}: spiffe.socket has changed: restart cambist`);
  return read(audience);
}

function notEmpty(secret: Secret, source: FileOrVariable, what: string): Secret {
  if (secret.reveal() !== '') return secret;
  const place = 'env' in source ? `environment variable "${source.env}"` : `file "${source.file}"`;
  throw unavailable(`${what}: ${place} is empty: write the value into it`);
}

function readEnvironment(name: string, what: string): Secret {
  const value = process.env[name];
  if (value === undefined)
    throw unavailable(`${what}: environment variable "${name}" is not set: set it and restart cambist`);
  const text = value.replace(/(?<![\r\n])[\r\n]+$/, '');
  const known = fromEnvironment.get(name);
  if (known?.reveal() === text) return known;
  const secret = new Secret(text);
  fromEnvironment.set(name, secret);
  return secret;
}

async function readFile(reading: Promise<Secret>, file: string, what: string): Promise<Secret> {
  try {
    return await reading;
  } catch (cause) {
    const isProblem = cause instanceof Error && errorCode(cause) === undefined;
    const why = isProblem ? cause.message : 'cannot be read: mount it and let this user read it';
    throw unavailable(`${what}: file "${file}" ${why}`, cause);
  }
}

/** The error of a secret, key or token that cannot be used. */
export function unavailable(message: string, cause?: unknown): CambistError {
  return new CambistError('ERR_CREDENTIAL_UNAVAILABLE', message, { cause });
}

/**
 * Reads a key.
 * @param name of its config key, for messages
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE, also if the key is too short
 */
export async function readKey(source: CredentialSource, name: string): Promise<Secret> {
  const key = await readCredential(source, name);
  if (key.reveal().length >= MIN_KEY_LENGTH) return key;
  throw unavailable(`${name}: the key is shorter than ${MIN_KEY_LENGTH} characters: use a long random key`);
}

export function readPseudonymKey(source: CredentialSource): Promise<Secret> {
  return readKey(source, 'audit.pseudonymize.key');
}
