import type { Audit } from '../config/audit.ts';
import { methodLabel } from '../observability/route-counts.ts';
import type { ExchangeOutcome } from '../observability/token-observer.ts';
import { callerTraceId, headerTokens } from '../proxy/caller-tokens.ts';
import { readMcpCall } from '../proxy/mcp-call.ts';
import type { RequestRecord } from '../proxy/request-record.ts';
import type { Revocation } from '../tokens/revocation-list.ts';
import { toForwardedSubject } from '../tokens/subject.ts';
import type { ExchangeAuditRecord, Identity, RequestAuditRecord, RevocationAuditRecord } from './record-schema.ts';
import { type Pseudonyms, pickClaims } from './recorded-claims.ts';
import { type TokenFacts, witnesses } from './token-facts.ts';

export function requestRecord(record: RequestRecord, { tools }: Audit, facts: TokenFacts): RequestAuditRecord {
  const { id, incoming, active, span, agent, route, authority, responseStart, error, cacheResult, stepUp, body } =
    record;
  const { credentialHeaders } = active;
  const traceId = span?.traceId ?? callerTraceId(incoming.rawHeaders, credentialHeaders);
  const mcp = tools ? readMcpCall(incoming, body, credentialHeaders) : undefined;
  return {
    kind: 'audit',
    event: 'request',
    time: new Date().toISOString(),
    request_id: id,
    trace_id: traceId,
    agent,
    route: route?.name,
    team: record.team,
    tunnel: authority,
    http_method: methodLabel(incoming.method ?? ''),
    decision: responseStart?.outcome ?? 'cancelled',
    status: responseStart?.status ?? 0,
    error: error?.code,
    duration_ms: rounded(responseStart?.durationMs ?? 0),
    ...identitiesOf(record, facts),
    mcp,
    cache: cacheResult,
    step_up: stepUp && [...stepUp],
  };
}

function identitiesOf(record: RequestRecord, facts: TokenFacts) {
  const { route, session, token } = record;
  const subject = session?.subject;
  const caller = subject
    ? { facts: facts.subject(subject), isVerified: route?.subjectToken.verify !== undefined }
    : forwardedCaller(record, facts);
  const credential = route?.credential;
  const server = credential && 'authorizationServer' in credential ? credential.authorizationServer.name : undefined;
  // A secret from a file is not an issued token, whatever its form.
  const issued = token !== undefined && server !== undefined ? facts.issued(token) : undefined;
  return {
    ...witnesses(caller, issued),
    token: issued && { authorization_server: server, ...issued.token },
  };
}

/** The caller of a route that forwards its token without reading it. Nothing has verified the token. */
function forwardedCaller({ route, incoming, forwarded }: RequestRecord, facts: TokenFacts) {
  if (route?.credential.kind !== 'passthrough') return undefined;
  const [token] = headerTokens(forwarded ?? incoming.rawHeaders, [route.subjectToken.header]);
  return token === undefined ? undefined : { facts: facts.subject(toForwardedSubject(token)), isVerified: false };
}

export function exchangeRecord(outcome: ExchangeOutcome, facts: TokenFacts): ExchangeAuditRecord {
  const { route, authorizationServer, refresh, cause, error, durationMs, target, subject, actor } = outcome;
  const issued = error === undefined ? facts.fromClaims(outcome.issued) : undefined;
  const caller = subject && { facts: facts.subject(subject), isVerified: outcome.isSubjectVerified === true };
  const who = witnesses(caller, issued);
  // The server accepted the actor token, even if the issued token does not name the actor.
  const ownActor: Identity | undefined =
    actor && who.actor?.from !== 'issued_token'
      ? { verified: issued !== undefined, from: 'actor_token', claims: facts.actor(actor) }
      : undefined;
  return {
    kind: 'audit',
    event: 'exchange',
    time: new Date().toISOString(),
    request_id: cause?.requestId,
    trace_id: cause?.traceId,
    route,
    authorization_server: authorizationServer,
    refresh,
    result: error === undefined ? 'issued' : 'refused',
    error: error?.code,
    oauth_error: error?.oauthError,
    duration_ms: rounded(durationMs),
    ...who,
    actor: ownActor ?? who.actor,
    requested: {
      resource: target?.resource.length ? [...target.resource] : undefined,
      audience: target?.audience.length ? [...target.audience] : undefined,
      scope: target?.scope,
    },
    token: issued?.token ?? (error?.issuedAudience && { aud: [...error.issuedAudience] }),
  };
}

/** The claims of whose tokens are revoked are those of the command, whatever `audit.claims` names. */
export function revocationRecord(
  { issuer: iss, subject, session: sid }: Revocation,
  result: RevocationAuditRecord['result'],
  pseudonymize: Pseudonyms['pseudonymize'],
): RevocationAuditRecord {
  const claims = pickClaims({ iss, sub: subject?.value, sid }, ['iss', 'sub', 'sid'], pseudonymize);
  return { kind: 'audit', event: 'revocation', time: new Date().toISOString(), result, claims };
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
