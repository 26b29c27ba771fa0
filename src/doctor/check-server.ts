import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Route, TokenTarget } from '../config/route.ts';
import { assertionFrom, usedServers } from '../config/used-servers.ts';
import type { SubjectVerification } from '../config/verification.ts';
import type { CambistError } from '../errors.ts';
import { firstLegTarget } from '../tokens/own-tokens.ts';
import { toSubject } from '../tokens/subject.ts';
import { type Grant, ownTokenRequest, type TokenRequest } from '../tokens/token-request.ts';
import { type CheckContext, caught } from './check-context.ts';
import { clientFinding, INVALID_TOKEN } from './client-refusal.ts';
import { credentialFinding, type Finding, fine, problem, shortAscii, warning } from './finding.ts';
import { lookupOf, unusableMetadata } from './metadata-findings.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';
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
 */
export async function checkServer(
  server: AuthorizationServer,
  role: ServerRole | 'client_credentials' | undefined,
  { attempt, endpoint }: CheckContext,
): Promise<Finding[]> {
  const { failure, requests } = await attempt(() => endpoint(server).prepare());
  const findings: Finding[] = [];
  if (failure !== undefined && failure.code !== 'ERR_CREDENTIAL_UNAVAILABLE') {
    findings.push(await undiscovered(server, requests, failure));
  } else {
    const found = requests.find((request) => request.status === 200 && jsonBodyOf(request).issuer === server.issuer);
    if (found !== undefined) {
      const named = shortAscii(String(jsonBodyOf(found).token_endpoint));
      findings.push(fine('metadata_found', `metadata found at ${found.url}; the token endpoint is ${named}`));
    }
    if (failure !== undefined) {
      findings.push(credentialFinding(failure));
    } else if (role === undefined) {
      findings.push(warning('client_not_checked', 'no route requests tokens from it, so its client was not checked'));
    } else if (role !== 'client_credentials') {
      // A route with client_credentials shows by its own token request whether the client is accepted.
      const probed = await attempt(() => endpoint(server).exchange(probeOf(role)));
      requests.push(...probed.requests);
      findings.push(await clientFinding(probed));
    }
  }
  const timed = requests.find(({ date }) => date !== undefined);
  const skew = timed && skewOf(timed);
  if (skew !== undefined) findings.push(clockFinding(skew));
  return findings;
}

/** With a larger difference, tokens are refused as not yet valid, or expire too late. */
const MAX_SKEW_MS = 5000;

type TimedResponse = Pick<RecordedRequest, 'sentAtMs' | 'respondedAtMs' | 'date'>;

/**
 * Milliseconds that the server's clock is ahead of this machine's. The `Date` header has whole seconds and was written some time between
 * request and response, so a smaller difference counts as 0. Undefined without a valid `Date` header.
 * @see RFC 9110 section 6.6.1
 */
export function skewOf({ sentAtMs, respondedAtMs, date }: TimedResponse): number | undefined {
  const statedMs = Date.parse(date ?? '');
  if (respondedAtMs === undefined || Number.isNaN(statedMs)) return undefined;
  if (statedMs > respondedAtMs) return statedMs - respondedAtMs;
  return Math.min(0, statedMs + 999 - sentAtMs);
}

export function clockFinding(skewMs: number): Finding {
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return fine('clock_agrees', 'the clocks agree, by the Date header');
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const fix = 'synchronize both machines with NTP; find the wrong clock with `date -u`';
  const isAhead = skewMs > 0;
  const side = isAhead ? 'ahead of' : 'behind';
  return problem('clock_skew', `the server's clock is ${seconds} s ${side} this machine's, by the Date header`, {
    why: isAhead
      ? 'its tokens appear to be from the future, here and to backends with a correct clock'
      : 'assertions that cambist signs appear to the server to be from the future',
    fix,
  });
}

async function undiscovered(
  server: AuthorizationServer,
  requests: readonly RecordedRequest[],
  { message }: CambistError,
): Promise<Finding> {
  const [first] = requests;
  if (first === undefined || requests.some(({ status }) => status !== undefined))
    return unusableMetadata(lookupOf(server), requests, message);
  return unreachable({ url: first.url, error: first.error, ...settingsOfServer(server) });
}

/** A request with an invalid subject token. A server that refuses the token, not the client, has accepted the client. */
function probeOf({ grant: kind, subjectTokenType, target, expect }: ServerRole): TokenRequest {
  const grant: Grant =
    kind === 'jwt_bearer'
      ? { kind, assertion: INVALID_TOKEN, from: 'caller' }
      : { kind, subjectToken: INVALID_TOKEN, subjectTokenType, actor: undefined };
  return { ...ownTokenRequest('doctor', undefined, expect), grantKind: kind, grant: () => grant, target };
}

/** No server has issued this token. */
const MADE_UP = 'cambist-doctor-made-up-token';

/** Asks about a made-up token, as the proxy does about a caller's. @param name of the authorization server */
export async function checkIntrospection(
  rules: SubjectVerification,
  name: string,
  { verifier }: CheckContext,
): Promise<Finding> {
  const { failure } = await caught(async () => {
    await verifier.prepare(rules);
    await verifier.verify(toSubject(MADE_UP), { ...rules, jwksUri: undefined });
  });
  if (failure === undefined) {
    return problem('introspection_unusable', `authorization server "${name}" says that a made-up token is active`, {
      fix: 'check introspection.endpoint: the endpoint must tell active tokens from others',
    });
  }
  if (failure.code === 'ERR_SUBJECT_TOKEN_INVALID')
    return fine('introspection_works', `authorization server "${name}" says that a made-up token is not active`);
  if (failure.code === 'ERR_CREDENTIAL_UNAVAILABLE') return credentialFinding(failure);
  return problem('introspection_unusable', `subject tokens cannot be introspected: ${failure.message}`, {
    fix: `allow the client of authorization_servers.${name} to introspect tokens, and check its client_auth and introspection.endpoint`,
  });
}
