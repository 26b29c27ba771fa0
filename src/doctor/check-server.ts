import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Route, TokenTarget } from '../config/route.ts';
import { assertionFrom, usedServers } from '../config/used-servers.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { firstLegTarget } from '../tokens/own-tokens.ts';
import { toSubject } from '../tokens/subject.ts';
import { CAMBIST, type Grant, type TokenRequest } from '../tokens/token-request.ts';
import type { CheckContext } from './check-context.ts';
import { clientFinding, INVALID_TOKEN } from './client-refusal.ts';
import { clockFinding, skewOf } from './clocks.ts';
import { type Finding, type Found, fine, problem, warning } from './finding.ts';
import { lookupOf, metadataFindings, unusableMetadata } from './metadata-findings.ts';
import type { RecordedRequest } from './recorded-request.ts';
import { settingsOfServer, unreachable } from './unreachable.ts';

/** The token request that the first route sends to an authorization server. */
interface ServerRole {
  readonly grant: AuthorizationServer['grant'];
  readonly target: TokenTarget;
  readonly subjectTokenType: string;
  readonly expect: 'token' | 'assertion';
}

/** The authorization servers that routes use. `client_credentials`: only for tokens of cambist itself. */
export function rolesOf(routes: readonly Route[]): ReadonlyMap<AuthorizationServer, ServerRole | 'client_credentials'> {
  const roles = new Map<AuthorizationServer, ServerRole | 'client_credentials'>();
  const add = (server: AuthorizationServer, role: ServerRole | 'client_credentials') => {
    if ((roles.get(server) ?? 'client_credentials') === 'client_credentials') roles.set(server, role);
  };
  for (const { credential, subjectToken } of routes) {
    for (const server of usedServers(credential)) {
      const issuer = assertionFrom(server)?.authorizationServer;
      if (issuer !== undefined) add(issuer, 'client_credentials');
    }
    if (credential.kind === 'client_credentials') add(credential.authorizationServer, 'client_credentials');
    if (credential.kind !== 'exchange') continue;
    const { authorizationServer: server, chain, target } = credential;
    const subjectTokenType = subjectToken.type;
    const last = { target, subjectTokenType, expect: 'token' } as const;
    if (chain === undefined) {
      add(server, { ...last, grant: server.grant });
      continue;
    }
    const first = { target: firstLegTarget(chain, target), subjectTokenType, expect: 'assertion' } as const;
    add(chain.authorizationServer, { ...first, grant: 'token_exchange' });
    add(server, { ...last, grant: 'jwt_bearer' });
  }
  return roles;
}

/**
 * Connects to a server, reads its metadata and clock, and checks that it accepts cambist's client.
 * @param role undefined if no route uses the server
 * @returns false if a token request would fail for a reason that is already reported
 */
export async function checkServer(
  server: AuthorizationServer,
  role: ServerRole | 'client_credentials' | undefined,
  context: CheckContext,
  found: Found,
): Promise<boolean> {
  let usable = true;
  const report = (finding: Finding) => {
    if (finding.severity === 'error') usable = false;
    found(finding);
  };
  const from = context.requests.length;
  const exchanged = role === 'client_credentials' ? undefined : role;
  for (const finding of await locate(server, exchanged, context)) report(finding);
  if (usable && role === undefined) {
    report(warning('client_not_checked', 'no route requests tokens from it, so its client was not checked'));
  }
  // A route with client_credentials shows by its own token request whether the client is accepted.
  if (usable && exchanged !== undefined) report(await tryClient(server, exchanged, context));
  const timed = context.requests.slice(from).find(({ date }) => date !== undefined);
  const skew = timed && skewOf(timed);
  // The checks go on with a wrong clock.
  if (skew !== undefined) found(clockFinding(skew));
  return usable;
}

/** Finds the token endpoint and reads the credential, as the proxy does at startup. */
async function locate(server: AuthorizationServer, role: ServerRole | undefined, context: CheckContext) {
  const { failure, requests } = await attempt(() => context.endpoint(server).prepare(), context.requests);
  if (failure === undefined) return metadataFindings(server, role?.grant, requests);
  if (failure.code === 'ERR_CREDENTIAL_UNAVAILABLE') {
    return [...metadataFindings(server, role?.grant, requests), credentialFinding(failure)];
  }
  const [first] = requests;
  if (first !== undefined && requests.every(({ status }) => status === undefined)) {
    return [await unreachableServer(server, first)];
  }
  return [unusableMetadata(lookupOf(server), requests, failure.message)];
}

export function unreachableServer(server: AuthorizationServer, { url, error }: RecordedRequest): Promise<Finding> {
  return unreachable({ url, error, ...settingsOfServer(server) });
}

export function credentialFinding(failure: CambistError): Finding {
  return problem('credential_unavailable', failure.message, {
    fix: 'provide it there, or run doctor where cambist runs, as the same user',
  });
}

/** Sends an invalid subject token. A server that refuses the token, not the client, has accepted the client. */
async function tryClient(server: AuthorizationServer, role: ServerRole, context: CheckContext): Promise<Finding> {
  const request = await probe(server, role, context);
  if (request instanceof CambistError) return credentialFinding(request);
  if (request.status === undefined) return unreachableServer(server, request);
  return clientFinding(server, request);
}

async function probe(server: AuthorizationServer, role: ServerRole, context: CheckContext) {
  const { grant: kind, subjectTokenType } = role;
  const grant: Grant =
    kind === 'jwt_bearer'
      ? { kind, assertion: INVALID_TOKEN, from: 'caller' }
      : { kind, subjectToken: INVALID_TOKEN, subjectTokenType, actor: undefined };
  const wanted: TokenRequest = {
    routeName: 'doctor',
    requester: CAMBIST,
    grantKind: kind,
    grant: () => grant,
    target: role.target,
    expect: role.expect,
    consent: undefined,
    subjectExpiresAtMs: undefined,
    refresh: false,
  };
  const { failure, requests } = await attempt(() => context.endpoint(server).exchange(wanted), context.requests);
  const request = requests.findLast(({ method }) => method === 'POST');
  return request ?? failure ?? new CambistError('ERR_INTERNAL', 'no request was sent');
}

/** Returns a CambistError that `work` throws, and the requests that it adds. Any other error is a bug and is thrown on. */
export async function attempt<T>(work: () => Promise<T>, recorded: readonly RecordedRequest[] = []) {
  const from = recorded.length;
  const result: { value?: T; failure?: CambistError } = {};
  try {
    result.value = await work();
  } catch (error) {
    if (!(error instanceof CambistError)) throw error;
    result.failure = error;
  }
  return { ...result, requests: recorded.slice(from) };
}

/** No server has issued this token. */
const MADE_UP = 'cambist-doctor-made-up-token';

/**
 * Asks about a made-up token, as the proxy does about a caller's.
 * @param name of the authorization server
 * @returns whether tokens can be introspected
 */
export async function checkIntrospection(
  rules: SubjectVerification,
  name: string,
  { verifier }: CheckContext,
  found: Found,
): Promise<boolean> {
  const { failure } = await attempt(async () => {
    await verifier.prepare(rules);
    await verifier.verify(toSubject(MADE_UP), { ...rules, jwksUri: undefined });
  });
  const isRefused = failure?.code === 'ERR_SUBJECT_TOKEN_INVALID';
  const works = `authorization server "${name}" says that a made-up token is not active`;
  found(isRefused ? fine('introspection_works', works) : introspectionFailed(name, failure));
  return isRefused;
}

function introspectionFailed(name: string, failure: CambistError | undefined): Finding {
  if (failure === undefined) {
    return problem('introspection_unusable', `authorization server "${name}" says that a made-up token is active`, {
      fix: 'check introspection.endpoint: the endpoint must tell active tokens from others',
    });
  }
  if (failure.code === 'ERR_CREDENTIAL_UNAVAILABLE') return credentialFinding(failure);
  return problem('introspection_unusable', `subject tokens cannot be introspected: ${failure.message}`, {
    fix:
      failure.code === 'ERR_CLIENT_REFUSED'
        ? `allow the client of authorization_servers.${name} to introspect tokens, and check its client_auth`
        : `check introspection.endpoint, and that authorization server "${name}" can be reached from here`,
  });
}
