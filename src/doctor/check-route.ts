import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type Route, type TokenCredential, usesOwnToken } from '../config/route.ts';
import { usedServers } from '../config/used-servers.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import { bareToken, readClaims, readIssuedClaims } from '../tokens/token-text.ts';
import { callBackend } from './call-backend.ts';
import { type Attempt, type CheckContext, caught } from './check-context.ts';
import { readRouteSubject, usesCallerToken, verifySubject } from './check-subject.ts';
import { unreachableServer } from './client-refusal.ts';
import { isUnreachable, tokenRequestFindings } from './diagnoses.ts';
import { credentialFinding, type Finding, fine, problem, showShortAscii, warning } from './finding.ts';
import { issuedFindings } from './issued-findings.ts';

export interface Prerequisites {
  /** The servers of which no problem is known. */
  readonly usable: ReadonlySet<AuthorizationServer>;
  /** The key sources whose tokens can be verified. */
  readonly verifiable: ReadonlySet<string>;
  /** The caller's token. `missing`: not provided; `unusable`: reported already. */
  readonly subject: Subject | 'missing' | 'unusable';
  readonly call: boolean;
  readonly context: CheckContext;
}

/** Performs the exchange that a request on the route would cause, and checks the issued token. */
export async function checkRoute(route: Route, prerequisites: Prerequisites): Promise<readonly Finding[]> {
  const { credential } = route;
  const { usable, call, context } = prerequisites;
  if (credential.kind === 'passthrough' || credential.kind === 'none')
    return [fine('route_needs_no_token', `credential: ${credential.kind}, so there is nothing to exchange`)];
  if (credential.kind === 'secret') return checkSecret(route, prerequisites);
  const unusable = usedServers(credential).find((server) => !usable.has(server));
  if (unusable !== undefined) {
    const why = `authorization server "${unusable.name}" must be fixed first`;
    return [warning('route_not_checked', 'no exchange was tried', { why })];
  }
  const { subject, findings = [] } = await subjectOf(route, prerequisites);
  if (subject === 'none') return findings;
  const wanted = { route, credential, subject, resource: route.name, refresh: false };
  const exchanged = await context.attempt(() => context.exchange(wanted));
  const judged = await judge(credential, subject, exchanged);
  const called = call && exchanged.value !== undefined ? [await callBackend(route, exchanged.value, context.pool)] : [];
  return [...findings, ...judged, ...called];
}

async function checkSecret(route: Route, { call, context }: Prerequisites): Promise<Finding[]> {
  const unverified = { ...route, subjectToken: { ...route.subjectToken, verify: undefined } };
  const { value: token, failure } = await caught(() => obtainSecret(unverified, NO_CALLER));
  if (failure !== undefined) return [credentialFinding(failure)];
  const header = route.send?.header ?? 'Authorization';
  const read = fine('secret_read', `the secret can be read; it is sent in the header "${header}"`);
  return call && token !== undefined ? [read, await callBackend(route, token, context.pool)] : [read];
}

/** A secret needs no caller here. */
const NO_CALLER: Session = { subject: undefined, id: undefined };

interface RouteSubject {
  /** The subject token is undefined if the exchange uses none, and `none` if it needs one that is not usable. */
  readonly subject: Subject | undefined | 'none';
  readonly findings?: readonly Finding[];
}

async function subjectOf(route: Route, { subject, verifiable, context }: Prerequisites): Promise<RouteSubject> {
  const { credential, subjectToken } = route;
  if (credential.kind !== 'exchange') return { subject: undefined };
  let findings: readonly Finding[] = [];
  let used: Subject | undefined;
  if (usesCallerToken(route)) {
    if (subject === 'missing') return { subject: usesOwnToken(route) ? undefined : 'none' };
    if (subject === 'unusable') {
      const why = 'the subject token is unusable';
      return { subject: 'none', findings: [warning('route_not_checked', 'no exchange was tried', { why })] };
    }
    used = subject;
  } else {
    ({ subject: used, findings } = await readRouteSubject(route, undefined, context));
  }
  const { verify } = subjectToken;
  if (used === undefined || verify === undefined) return { subject: used ?? 'none', findings };
  const verified = await verifySubject(used, verify, verifiable, context);
  return { subject: verified.severity === 'ok' ? used : 'none', findings: [...findings, verified] };
}

/** Explains the responses to one exchange, both exchanges in a chain. */
async function judge(
  { authorizationServer: server, target }: TokenCredential,
  subject: Subject | undefined,
  { value, failure, refused, requests }: Attempt<IssuedToken>,
): Promise<Finding[]> {
  const request = requests.findLast(({ method }) => method === 'POST');
  if (value !== undefined && request !== undefined) {
    const issued = readIssuedClaims(bareToken(value.authorization.reveal()));
    const claims = subject && readClaims(subject.token.reveal());
    const exchange = { server, target, request, subject: claims, show: showShortAscii };
    return issuedFindings({ ...exchange, ...issued, repeated: undefined });
  }
  if (failure === undefined) return [];
  if (refused !== undefined && isUnreachable(refused)) return [await unreachableServer(refused)];
  const findings = refused === undefined ? [] : tokenRequestFindings(refused, showShortAscii, 'quoted');
  if (findings.some(({ severity }) => severity === 'error')) return findings;
  if (failure.code === 'ERR_CREDENTIAL_UNAVAILABLE') return [credentialFinding(failure)];
  const why = `the route would return ${failure.status} ${failure.code}`;
  return [...findings, problem('response_unusable', failure.message, { why })];
}
