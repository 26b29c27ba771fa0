import { rename, writeFile } from 'node:fs/promises';
import type { Random } from '../harness/random.ts';

/** The route to a backend decides which token it may get. */
export type Credential = 'exchange' | 'client_credentials' | 'none' | 'passthrough';

export interface BackendIdentity {
  readonly name: string;
  readonly credential: Credential;
}

interface TokenFields {
  readonly kind: 'subject' | 'issued' | 'secret';
  /** The caller, or the client of cambist. */
  readonly owner: string;
  /** The backend that an issued token is for. */
  readonly backend?: string;
  /** Instant of the monotonic clock from which a backend must not receive the token. */
  readonly endsAtMs?: number;
}

export type Ledger = ReturnType<typeof createLedger>;

/** Owner of what is issued to cambist's own client. */
export const OWN_CLIENT = 'cambist';

/** Every token of a run has one of these two forms, so that it is found in any text. */
const TOKEN = /chaos-[a-z]+-[0-9a-f]{32}|eyJ[\w-]+\.[\w-]+\.[\w-]+/g;

/** Violations beyond these add nothing. */
const MAX_VIOLATIONS = 20;

/** Remembers each token, and tells whether a backend may receive it. */
export function createLedger(random: Random, nowMs: () => number) {
  const tokens = new Map<string, TokenFields>();
  const violations: string[] = [];
  let correct = 0;
  const report = (violation: string): void => {
    if (violations.length < MAX_VIOLATIONS) violations.push(violation);
  };
  const describe = (token: string): string => {
    const { kind, owner, backend } = tokens.get(token) ?? { kind: 'unknown', owner: 'nobody' };
    return `a token (${kind}) of ${owner}${backend === undefined ? '' : ` for ${backend}`}`;
  };
  const checkText = (where: string, text: string): void => {
    for (const token of text.match(TOKEN) ?? []) report(`${where} contains ${describe(token)}`);
  };
  /** Any number of the caller's own tokens, and no other: a passthrough route changes nothing. */
  const checkOwn = (where: string, caller: string, text: string): void => {
    for (const token of text.match(TOKEN) ?? []) {
      const found = tokens.get(token);
      if (found?.kind !== 'subject' || found.owner !== caller) report(`${where} contains ${describe(token)}`);
      else correct += 1;
    }
  };

  return {
    violations: violations as readonly string[],
    /** Tokens that backends received and that were right. */
    get correct(): number {
      return correct;
    },
    /** Adds a violation of another kind. */
    report,
    /** Checks that a text contains no token at all. */
    checkText,
    find: (token: string) => tokens.get(token),
    /** A new token. `claims` make a JWT of it. */
    create(fields: TokenFields, claims?: Record<string, unknown>): string {
      const id = random.hex(32);
      const token = claims === undefined ? `chaos-${fields.kind}-${id}` : jwt(claims, id);
      tokens.set(token, fields);
      return token;
    },
    /** Checks the request of a caller when it arrives at a backend. */
    checkArrival(backend: BackendIdentity, caller: string, authorization: readonly string[], rest: string) {
      const where = `a request of ${caller} at ${backend.name}`;
      if (backend.credential === 'passthrough') return checkOwn(where, caller, `${authorization.join(' ')} ${rest}`);
      checkText(where, rest);
      if (backend.credential === 'none') {
        return checkText(`${where}, which gets no token,`, authorization.join(' '));
      }
      const [first = '', ...others] = authorization;
      if (others.length > 0) report(`${where} has ${authorization.length} Authorization headers`);
      const token = first.replace(/^Bearer /, '');
      const found = tokens.get(token);
      if (found === undefined) return report(`${where} has an unknown Authorization`);
      const problem = problemOf(found, backend, caller, nowMs());
      if (problem !== undefined) report(`${where} has ${describe(token)}: ${problem}`);
      else correct += 1;
    },
  };
}

function problemOf(
  token: TokenFields,
  { name, credential }: BackendIdentity,
  caller: string,
  nowMs: number,
): string | undefined {
  if (token.kind !== 'issued') return 'the wrong kind';
  if (token.owner !== (credential === 'client_credentials' ? OWN_CLIENT : caller)) return 'the wrong owner';
  if (token.backend !== name) return 'the wrong backend';
  if (token.endsAtMs !== undefined && nowMs > token.endsAtMs) return 'expired';
  return undefined;
}

/** Nothing verifies the signature. It only makes the token unique. */
function jwt(claims: Record<string, unknown>, signature: string): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256', typ: 'at+jwt' })}.${part(claims)}.${signature}`;
}

/** cambist remembers a file for a second, and a request may be sent just before its secret changes. */
const MAX_STALE_MS = 5000;

/** A file whose secret changes while cambist uses it. */
export function createRotatedSecret(file: string, ledger: Ledger) {
  const all: string[] = [];
  const replacedAtMs = new Map<string, number>();
  return {
    /** Replaces the file. */
    async rotate(): Promise<void> {
      const next = ledger.create({ kind: 'secret', owner: OWN_CLIENT });
      const previous = all.at(-1);
      all.push(next);
      await writeFile(`${file}.draft`, next);
      await rename(`${file}.draft`, file);
      if (previous !== undefined) replacedAtMs.set(previous, performance.now());
    },
    /** Reports a secret that is unknown, or that was replaced too long ago. */
    check(secret: string): void {
      if (!all.includes(secret)) ledger.report('a token request has an unknown client secret');
      const sinceMs = performance.now() - (replacedAtMs.get(secret) ?? Number.POSITIVE_INFINITY);
      if (sinceMs > MAX_STALE_MS)
        ledger.report(`a token request has a client secret that was replaced ${sinceMs} ms ago`);
    },
  };
}
