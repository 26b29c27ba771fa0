import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';
import { STATE_PREFIX } from '../config/consent.ts';
import { claimsOf, type Subject } from '../tokens/subject.ts';
import { parseJsonObject } from '../tokens/token-text.ts';

/** The backend's own fields of the original request, as JSON texts. A retry after a consent gives them back. */
export interface NestedState {
  readonly requestState?: string;
  readonly inputResponses?: string;
}

/** A request for which the user must consent. Its retry must equal it in all of these. */
export interface BoundRequest {
  readonly subject: Subject;
  readonly route: string;
  readonly method: string;
  readonly params: unknown;
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

/**
 * Seals the state of a request with AES-256-GCM. The client cannot read or change it, and it opens for the same request of the same
 * caller only.
 * @returns undefined for a request that nests too deeply to be compared with its retry
 * @see MCP 2026-07-28, "Multi Round-Trip Requests", security considerations
 */
export function sealState(nested: NestedState, bound: BoundRequest, keys: StateKeys, wallMs: number) {
  const [key] = keys();
  if (key === undefined) throw new Error('no key seals the state');
  const binding = bindingOf(bound);
  if (binding === undefined) return undefined;
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(binding);
  const sealed = Buffer.concat([cipher.update(JSON.stringify({ at: wallMs, ...nested }), 'utf8'), cipher.final()]);
  return STATE_PREFIX + Buffer.concat([iv, sealed, cipher.getAuthTag()]).toString('base64url');
}

/** Opens a sealed state. Undefined if it is altered, too old, or of another request or caller. */
export function openState(
  state: string,
  bound: BoundRequest,
  keys: StateKeys,
  wallMs: number,
): NestedState | undefined {
  const bytes = Buffer.from(state.slice(STATE_PREFIX.length), 'base64url');
  // Base64 has several spellings of the same bytes, and only one was given out.
  if (bytes.length <= IV_BYTES + TAG_BYTES || STATE_PREFIX + bytes.toString('base64url') !== state) return undefined;
  const binding = bindingOf(bound);
  if (binding === undefined) return undefined;
  for (const key of keys()) {
    const opened = parseJsonObject(decrypt(bytes, key, binding) ?? '');
    if (opened === undefined) continue;
    const { at, requestState, inputResponses } = opened;
    if (typeof at !== 'number' || Math.abs(wallMs - at) > LIFETIME_MS) return undefined;
    return {
      ...(typeof requestState === 'string' && { requestState }),
      ...(typeof inputResponses === 'string' && { inputResponses }),
    };
  }
  return undefined;
}

function decrypt(bytes: Buffer, key: Buffer, binding: Buffer): string | undefined {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(binding);
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

function bindingOf({ subject, route, method, params }: BoundRequest): Buffer | undefined {
  if (!isWithin(params, MAX_DEPTH)) return undefined;
  const fields = Object.entries(Object(params) as Record<string, unknown>).filter(([key]) => !CHANGING.has(key));
  const text = JSON.stringify([callerOf(subject), route, method, sorted(Object.fromEntries(fields))]);
  return Buffer.from(hash('sha256', text, 'base64url'));
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
