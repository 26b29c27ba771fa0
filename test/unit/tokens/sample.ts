import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type {
  AuthorizationServer,
  Chain,
  Credential,
  Route,
  SubjectTokenSource,
  TokenTarget,
} from '../../../src/config/config.ts';
import type { CambistError, ErrorCode } from '../../../src/errors.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import { readSubject, type Subject } from '../../../src/tokens/subject.ts';
import type { AskedFor } from '../../../src/tokens/token-answer.ts';

export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
export const JWT = 'urn:ietf:params:oauth:token-type:jwt';

/** An authorization server of the config; what a test does not name does not matter to it. */
export function serverOf(fields: Partial<AuthorizationServer> = {}): AuthorizationServer {
  return {
    name: 'main',
    issuer: 'https://idp.example.com',
    tokenEndpoint: undefined,
    allowInsecureHttp: false,
    clientId: 'cambist',
    clientAuth: { method: 'none' },
    grant: 'token_exchange',
    extraParams: [],
    timeoutMs: 5000,
    tls: undefined,
    dpop: false,
    ...fields,
  };
}

export function targetOf(fields: Partial<TokenTarget> = {}): TokenTarget {
  return {
    resource: ['https://github.example.com/mcp'],
    audience: [],
    scope: undefined,
    requestedTokenType: undefined,
    expectAudience: 'any',
    ...fields,
  };
}

export function exchangeOf(fields: Partial<Extract<Credential, { kind: 'exchange' }>> = {}): Credential {
  return {
    kind: 'exchange',
    authorizationServer: serverOf(),
    target: targetOf(),
    actorToken: undefined,
    chain: undefined,
    onMissingSubject: 'deny',
    ...fields,
  };
}

export function chainOf(fields: Partial<Chain> = {}): Chain {
  return {
    authorizationServer: serverOf({ name: 'idp', issuer: 'https://login.example.com' }),
    assertion: 'id_jag',
    audience: 'https://idp.example.com',
    expectAudience: ['https://idp.example.com'],
    ...fields,
  };
}

export function subjectTokenOf(fields: Partial<SubjectTokenSource> = {}): SubjectTokenSource {
  return { header: 'authorization', type: ACCESS_TOKEN, file: undefined, verify: undefined, ...fields };
}

export function routeOf(fields: Partial<Route> = {}): Route {
  return {
    name: 'github',
    match: { host: undefined, path: '/', conditions: undefined },
    upstream: { origin: 'https://github.example.com', host: 'github.example.com', path: '/mcp' },
    subjectToken: subjectTokenOf(),
    credential: exchangeOf(),
    timeouts: { connectMs: 5000, responseHeadersMs: 0, stallMs: 60_000 },
    retryBodyLimitBytes: 65_536,
    stepUp: [],
    allowedOrigins: [],
    http2: false,
    tls: undefined,
    ...fields,
  };
}

/** What an answer is read as the answer to. */
export function askedFor(fields: Partial<AskedFor> = {}): AskedFor {
  return {
    serverName: 'main',
    bears: "caller's",
    requestedTokenType: undefined,
    wanted: 'bearer',
    sent: [],
    ...fields,
  };
}

/** A JWT whose signature is none: this room verifies none. */
export function jwtOf(claims: Record<string, unknown>, header: Record<string, unknown> = { alg: 'ES256' }): string {
  const parts = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return [...parts, 'c2ln'].join('.');
}

/** A subject whose token is a JWT. */
export function subjectOf(name: string, expiresAtMs?: number): Subject {
  const exp = expiresAtMs === undefined ? {} : { exp: expiresAtMs / 1000 };
  const subject = readSubject('authorization', [`Bearer ${jwtOf({ sub: name, ...exp })}`]);
  if (subject === undefined) throw new Error('no subject');
  return subject;
}

export function secretOf(text: string): Secret {
  return new Secret(text);
}

/** For `assert.throws` and `assert.rejects`. */
export function failsWith(code: ErrorCode, message?: RegExp) {
  return (error: unknown): boolean => {
    const { code: got, message: said } = error as CambistError;
    if (got !== code) throw new Error(`${code} was expected, and not ${got}: ${said}`, { cause: error });
    if (message !== undefined && !message.test(said)) throw new Error(`${message} is not in: ${said}`);
    return true;
  };
}

/** A folder for the files of one test. */
export function folderOf(t: TestContext): { path: string; write(name: string, content: string): string } {
  const path = mkdtempSync(join(tmpdir(), 'cambist-'));
  t.after(() => rmSync(path, { recursive: true }));
  return {
    path,
    write(name, content) {
      const file = join(path, name);
      writeFileSync(file, content);
      return file;
    },
  };
}

/** A promise that a test settles. */
export function deferred<T>(): { promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void } {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/** Lets everything run that waits for nothing but its turn. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
