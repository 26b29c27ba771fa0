import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type Route, type TokenCredential, usesOwnToken } from '../config/route.ts';
import { usedServers } from '../config/used-servers.ts';
import type { CambistError } from '../errors.ts';
import { firstLegTarget } from '../tokens/own-tokens.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import { findRepeated, type SentValue } from '../tokens/sent-values.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import { readClaims, readIssuedClaims } from '../tokens/token-text.ts';
import { callBackend } from './call-backend.ts';
import type { CheckContext } from './check-context.ts';
import { attempt, credentialFinding, unreachableServer } from './check-server.ts';
import { type KeysBySource, readRouteSubject, usesCallerToken, verifySubject } from './check-subject.ts';
import { unavailableFinding } from './client-refusal.ts';
import { exchangeErrorFinding } from './exchange-errors.ts';
import { type Finding, type Found, fine, problem, showShortAscii, warning } from './finding.ts';
import { issuedFindings, personalValues } from './issued-findings.ts';
import { oauthErrorOf } from './oauth-error.ts';
import { issuedTokenOf, type RecordedRequest, sentIn } from './recorded-request.ts';

export interface Prerequisites {
  /** The servers of which no problem is known. */
  readonly usable: ReadonlySet<AuthorizationServer>;
  readonly keys: KeysBySource;
  /** The caller's token. `missing`: not provided; `unusable`: reported already. */
  readonly subject: Subject | 'missing' | 'unusable';
  readonly call: boolean;
  readonly context: CheckContext;
}

/** Performs the exchange that a request on the route would cause, and checks the issued token. */
export async function checkRoute(route: Route, prerequisites: Prerequisites, found: Found): Promise<void> {
  const { credential } = route;
  const { usable, call, context } = prerequisites;
  if (credential.kind === 'passthrough' || credential.kind === 'none') {
    return found(fine('route_needs_no_token', `credential: ${credential.kind}, so there is nothing to exchange`));
  }
  if (credential.kind === 'secret') return checkSecret(route, prerequisites, found);
  const unusable = usedServers(credential).find((server) => !usable.has(server));
  if (unusable !== undefined) {
    const why = `authorization server "${unusable.name}" must be fixed first`;
    return found(warning('route_not_checked', 'no exchange was tried', { why }));
  }
  const subject = await subjectOf(route, prerequisites, found);
  if (subject === 'none') return;
  const wanted = { route, credential, subject, resource: route.name, refresh: false };
  const { value: token, failure, requests: sent } = await attempt(() => context.exchange(wanted), context.requests);
  const requests = sent.filter(({ method }) => method === 'POST');
  for (const finding of await judge(credential, requests, subject, failure)) found(finding);
  if (call && token !== undefined) found(await callBackend(route, token, context.pool));
}

async function checkSecret(route: Route, { call, context }: Prerequisites, found: Found): Promise<void> {
  const unverified = { ...route, subjectToken: { ...route.subjectToken, verify: undefined } };
  const { value: token, failure } = await attempt(() => obtainSecret(unverified, NO_CALLER));
  if (failure !== undefined) return found(credentialFinding(failure));
  found(
    fine('secret_read', `the secret can be read; it is sent in the header "${route.send?.header ?? 'Authorization'}"`),
  );
  if (call && token !== undefined) found(await callBackend(route, token, context.pool));
}

/** A secret needs no caller here. */
const NO_CALLER: Session = { subject: undefined, id: undefined };

/** @returns undefined if the exchange uses no subject token, `none` if there must be one and it is not usable */
async function subjectOf(route: Route, { subject, keys, context }: Prerequisites, found: Found) {
  const { credential, subjectToken } = route;
  if (credential.kind !== 'exchange') return undefined;
  let used: Subject | undefined;
  if (usesCallerToken(route)) {
    if (subject === 'missing') return usesOwnToken(route) ? undefined : 'none';
    if (subject === 'unusable') {
      found(warning('route_not_checked', 'no exchange was tried', { why: 'the subject token is unusable' }));
      return 'none';
    }
    used = subject;
  } else {
    used = await readRouteSubject(route, undefined, context, found);
  }
  if (used === undefined) return 'none';
  const { verify } = subjectToken;
  return verify === undefined || (await verifySubject(used, verify, keys, context, found)) ? used : 'none';
}

/** Explains the responses to one exchange, both exchanges in a chain. */
async function judge(
  credential: TokenCredential,
  requests: readonly RecordedRequest[],
  subject: Subject | undefined,
  failure: CambistError | undefined,
): Promise<Finding[]> {
  const last = requests.at(-1);
  if (last === undefined) return failure === undefined ? [] : [unsent(failure)];
  const server = serverOf(credential, last);
  if (last.status === undefined) return [await unreachableServer(server, last)];
  const claims = subject && readClaims(subject.token.reveal());
  const chain = credential.kind === 'exchange' ? credential.chain : undefined;
  const secondLeg = chain !== undefined && server === credential.authorizationServer;
  const exchange = { server, request: last, subject: claims, show: showShortAscii };
  const refusal = oauthErrorOf(last, [...sentIn(last), ...personalValues(claims)]);
  if (refusal !== undefined) return [exchangeErrorFinding({ ...exchange, refusal, secondLeg, hasSucceeded: false })];
  const token = issuedTokenOf(last);
  if (token === undefined)
    return [failure === undefined || last.status >= 500 ? unavailableFinding(last) : unusableResponse(failure)];
  const findings = issuedFindings({
    ...exchange,
    target: chain !== undefined && !secondLeg ? firstLegTarget(chain, credential.target) : credential.target,
    ...readIssuedClaims(token),
    repeated: findRepeated(token, [...requests.flatMap(sentIn), ...sentByCaller(subject)]),
  });
  const explained = failure === undefined || findings.some(({ severity }) => severity === 'error');
  return explained ? findings : [...findings, unusableResponse(failure)];
}

function sentByCaller(subject: Subject | undefined): SentValue[] {
  return subject === undefined ? [] : [{ name: 'subject_token', value: subject.token.reveal(), isCredential: true }];
}

function unsent(failure: CambistError): Finding {
  return failure.code === 'ERR_CREDENTIAL_UNAVAILABLE' ? credentialFinding(failure) : unusableResponse(failure);
}

function unusableResponse(failure: CambistError): Finding {
  return problem('response_unusable', failure.message, {
    why: `the route would return ${failure.status} ${failure.code}`,
  });
}

/** The server that a request was sent to. In a chain, only the first request is a token exchange. */
function serverOf(credential: TokenCredential, { form }: RecordedRequest): AuthorizationServer {
  const { authorizationServer } = credential;
  const chain = credential.kind === 'exchange' ? credential.chain : undefined;
  const isFirst = chain !== undefined && form.get('grant_type')?.endsWith(':token-exchange') === true;
  const leg = isFirst ? chain.authorizationServer : authorizationServer;
  // A request to the issuer of a client assertion has another client, or names the client in a header.
  const issuers = usedServers(credential).filter(
    (server) => server !== authorizationServer && server !== chain?.authorizationServer,
  );
  return form.get('client_id') === leg.clientId ? leg : (issuers[0] ?? leg);
}
