import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';
import { MAX_NESTED_BYTES, STATE_PREFIX } from '../routing/request-state.ts';
import { claimsOf, type Subject } from '../tokens/subject.ts';
import { parseJsonObject } from '../tokens/token-text.ts';

/** The backend's own fields of the original request, as JSON texts. A retry after a consent gives them back. */
export interface NestedState {
  readonly requestState?: string | undefined;
  readonly inputResponses?: string | undefined;
}

/** The message for which the user must consent. Its retry must equal it in both. */
interface BoundMessage {
  readonly method: string;
  readonly params: unknown;
}

/** The message with its caller and its route, which its retry must have as well. */
export interface BoundRequest extends BoundMessage {
  readonly subject: Subject;
  readonly route: string;
}

/** A state that cambist sealed for this caller and route. `isFor`: the message is the one that it was sealed for. */
export interface OpenState extends NestedState {
  isFor(message: BoundMessage): boolean;
}

/** AES-256 keys. The first one seals, all of them open. Replicas that serve the same callers need the same keys. */
export type StateKeys = () => readonly Buffer[];

let ownKey: Buffer | undefined;

/** A key of this process. */
export const ownStateKeys: StateKeys = () => {
  ownKey ??= randomBytes(32);
  return [ownKey];
};

const IV_BYTES = 12;
const TAG_BYTES = 16;
/** Users read the page, sign in, and look for a second factor. */
const LIFETIME_MS = 15 * 60_000;
/** Quoting doubles a nested state at most, and Base64 adds a third. */
const MAX_STATE_LENGTH = 3 * MAX_NESTED_BYTES;

/**
 * Seals the state of a request with AES-256-GCM. The client cannot read or change it, and it is for the same request of the same
 * caller only.
 * @returns undefined for a request that nests too deeply to be compared with its retry
 * @see MCP 2026-07-28, "Multi Round-Trip Requests", security considerations
 */
export function sealState(nested: NestedState, bound: BoundRequest, keys: StateKeys, wallMs: number) {
  const [key] = keys();
  if (key === undefined) throw new Error('no key seals the state');
  const message = digestOf(bound);
  if (message === undefined) return undefined;
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(ownerOf(bound));
  const text = JSON.stringify({ at: wallMs, message, ...nested });
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return STATE_PREFIX + Buffer.concat([iv, sealed, cipher.getAuthTag()]).toString('base64url');
}

/**
 * Opens a sealed state before its message is parsed, because anyone can make a state up.
 * @returns undefined if it is altered, too old, or of another caller or route
 */
export function openState(
  state: string,
  owner: Pick<BoundRequest, 'subject' | 'route'>,
  keys: StateKeys,
  wallMs: number,
): OpenState | undefined {
  if (state.length > MAX_STATE_LENGTH) return undefined;
  const bytes = Buffer.from(state.slice(STATE_PREFIX.length), 'base64url');
  // Base64 has several spellings of the same bytes, and only one was given out.
  if (bytes.length <= IV_BYTES + TAG_BYTES || STATE_PREFIX + bytes.toString('base64url') !== state) return undefined;
  const sealedFor = ownerOf(owner);
  for (const key of keys()) {
    const opened = parseJsonObject(decrypt(bytes, key, sealedFor) ?? '');
    if (opened === undefined) continue;
    const { at, message, requestState, inputResponses } = opened;
    if (typeof at !== 'number' || Math.abs(wallMs - at) > LIFETIME_MS) return undefined;
    return {
      ...(typeof requestState === 'string' && { requestState }),
      ...(typeof inputResponses === 'string' && { inputResponses }),
      isFor: (retry) => message !== undefined && digestOf(retry) === message,
    };
  }
  return undefined;
}

function decrypt(bytes: Buffer, key: Buffer, owner: Buffer): string | undefined {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(owner);
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    const opened = [decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()];
    return Buffer.concat(opened).toString('utf8');
  } catch {
    return undefined;
  }
}

/** The fields of a retry that its original request lacks or may have with other values. */
const CHANGING: ReadonlySet<string> = new Set(['requestState', 'inputResponses', '_meta']);

/** Deeper than any arguments of a tool. Going much deeper would exhaust the stack. */
const MAX_DEPTH = 256;

/** @returns undefined for a message that nests too deeply */
function digestOf({ method, params }: BoundMessage): string | undefined {
  if (!isWithin(params, MAX_DEPTH)) return undefined;
  const fields = Object.entries(Object(params) as Record<string, unknown>).filter(([key]) => !CHANGING.has(key));
  return hash('sha256', JSON.stringify([method, sorted(Object.fromEntries(fields))]), 'base64url');
}

function ownerOf({ subject, route }: Pick<BoundRequest, 'subject' | 'route'>): Buffer {
  return Buffer.from(JSON.stringify([callerOf(subject), route]));
}

/**
 * A caller's token may be renewed while the user consents, so its issuer and subject count. A token that claims them falsely opens
 * the state, which gains nothing: no token is issued for it.
 */
function callerOf(subject: Subject): unknown {
  const { iss, sub } = claimsOf(subject) ?? {};
  return typeof iss === 'string' && typeof sub === 'string' ? [iss, sub] : subject.digest;
}

function isWithin(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((part) => isWithin(part, depth - 1));
}

/** Clients may write the members of an object in another order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return entries.map(([key, part]) => [key, sorted(part)]);
}
