import type { TestContext } from 'node:test';
import type { AuthorizationServer, ClientAuth } from '../../../src/config/authorization-server.ts';
import type { Chain, Credential, Route, SubjectTokenSource, TokenTarget } from '../../../src/config/route.ts';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import type { CambistError } from '../../../src/errors.ts';
import type { TokenObserver } from '../../../src/observability/token-observer.ts';
import { createEndpointClaims } from '../../../src/tokens/endpoint-claims.ts';
import { createDpopProver } from '../../../src/tokens/issued-token.ts';
import type { ClientAssertions } from '../../../src/tokens/server-client.ts';
import { type Subject, toSubject } from '../../../src/tokens/subject.ts';
import type { TokenEndpointContext } from '../../../src/tokens/token-endpoint.ts';
import type { Grant, TokenRequest } from '../../../src/tokens/token-request.ts';
import type { ExpectedResponse } from '../../../src/tokens/token-response.ts';
import type { ConnectorOptions } from '../../../src/transport/connector.ts';
import { Http1Dispatcher } from '../../../src/transport/http1/dispatcher.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';

export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
export const JWT = 'urn:ietf:params:oauth:token-type:jwt';

/** An authorization server of the config. Fields that a test does not set do not matter to it. */
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

/** A client that signs with the secret in a file. */
export function secretJwt(file: string, fields: { alg?: string; assertionAudience?: string } = {}): ClientAuth {
  return {
    method: 'client_secret_jwt',
    clientSecret: { file },
    alg: 'HS256',
    assertionAudience: undefined,
    assertionLifetimeMs: 60_000,
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
  return {
    header: 'authorization',
    type: ACCESS_TOKEN,
    own: undefined,
    scope: undefined,
    verify: undefined,
    ...fields,
  };
}

/** The rules for a caller's token. */
export function verificationOf(fields: Partial<SubjectVerification> = {}): SubjectVerification {
  return {
    issuer: 'https://idp.example.com',
    audience: ['cambist'],
    jwksUri: undefined,
    ca: undefined,
    allowInsecureHttp: false,
    ...fields,
  };
}

export function routeOf(fields: Partial<Route> = {}): Route {
  return {
    name: 'github',
    match: { host: undefined, path: '/', conditions: undefined },
    upstream: { origin: 'https://github.example.com', host: 'github.example.com', path: '/mcp' },
    subjectToken: subjectTokenOf(),
    credential: exchangeOf(),
    consent: undefined,
    send: undefined,
    timeouts: { connectMs: 5000, responseHeadersMs: 0, stallMs: 60_000 },
    retryBodyLimitBytes: 65_536,
    stepUp: [],
    allowedOrigins: [],
    agents: [],
    tls: undefined,
    unattended: undefined,
    ...fields,
  };
}

export function expectedResponse(fields: Partial<ExpectedResponse> = {}): ExpectedResponse {
  return {
    serverName: 'main',
    credentialOwner: 'caller',
    actsForUser: true,
    consent: undefined,
    requestedTokenType: undefined,
    kind: 'bearer',
    sent: [],
    ...fields,
  };
}

export const EXCHANGE = {
  kind: 'token_exchange',
  subjectToken: 'subject',
  subjectTokenType: ACCESS_TOKEN,
  actor: undefined,
} satisfies Grant;

/** A token request of a caller. */
export function tokenRequestOf(fields: Partial<TokenRequest> = {}): TokenRequest {
  return {
    routeName: 'github',
    requester: { caller: 'alice', peer: undefined },
    consent: undefined,
    grantKind: 'token_exchange',
    grant: () => EXCHANGE,
    target: targetOf(),
    expect: 'token',
    subjectExpiresAtMs: undefined,
    refresh: false,
    ...fields,
  };
}

/** An observer that ignores everything. */
export const NO_OBSERVER: TokenObserver = {
  cacheLookedUp() {},
  exchangeFinished() {},
  tokenEvicted() {},
  availabilityChanged() {},
  credentialRead() {},
  introspected() {},
};

/** The shared part of all token endpoints. */
export function endpointContext(clock = createFakeClock()): TokenEndpointContext {
  return {
    clock,
    dpop: createDpopProver(clock),
    claims: createEndpointClaims(() => []),
    observer: NO_OBSERVER,
    clientAssertions: NO_CLIENT_ASSERTIONS,
    maxAgeMs: () => 300_000,
    random: () => 0,
  };
}

/** A JWT with an invalid signature: most of this code verifies no signature. */
export function jwtOf(claims: Record<string, unknown>, header: Record<string, unknown> = { alg: 'ES256' }): string {
  const parts = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return [...parts, 'c2ln'].join('.');
}

/** A subject with a JWT. */
export function subjectOf(name: string, expiresAtMs?: number): Subject {
  return toSubject(jwtOf({ sub: name, ...(expiresAtMs !== undefined && { exp: expiresAtMs / 1000 }) }));
}

/** Makes the check for `assert.throws` and `assert.rejects`. */
export function failsWith(code: ErrorCode, message?: RegExp) {
  return (error: unknown): boolean => {
    const { code: got, message: said } = error as CambistError;
    if (got !== code) throw new Error(`expected ${code} instead of ${got}: ${said}`, { cause: error });
    if (message !== undefined && !message.test(said)) throw new Error(`expected ${message} in: ${said}`);
    return true;
  };
}

/** A temporary folder for one test. */
export function folderOf(t: TestContext) {
  const path = temporaryFolder(t);
  const write = writerInto(path);
  return { path, write: (name: string, content: string): string => write(name, content).file };
}

/** The connections of one test. */
export function dispatcherOf(t: TestContext, options: ConnectorOptions = {}): Http1Dispatcher {
  const dispatcher = new Http1Dispatcher(options);
  t.after(() => dispatcher.destroy());
  return dispatcher;
}

/** Waits until all microtasks and ready callbacks have run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Serves where the client of each server authenticates itself. */
const noAssertion = () => Promise.reject(new Error('no assertion'));
const NO_CLIENT_ASSERTIONS: ClientAssertions = { obtain: noAssertion, drop() {}, prepare: noAssertion };
