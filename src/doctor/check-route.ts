import type { AuthorizationServer, Route } from '../config/config.ts';
import type { CambistError } from '../errors.ts';
import { firstLegTarget } from '../tokens/chain.ts';
import { readClaims } from '../tokens/claims.ts';
import type { TokenCredential } from '../tokens/exchange.ts';
import { findRepeated, type SentValue } from '../tokens/sent-values.ts';
import type { Subject } from '../tokens/subject.ts';
import type { CheckContext } from './check-context.ts';
import { credentialFinding, failureOf, type ServerHealth, unreachableServer } from './check-server.ts';
import { checkSubject, type KeysBySource, type SubjectTokenInput } from './check-subject.ts';
import { unavailableFinding } from './client-auth.ts';
import { clockFinding, skewByIssue } from './clocks.ts';
import { exchangeErrorFinding } from './exchange-errors.ts';
import { type Finding, fine, problem, warning } from './finding.ts';
import { issuedFindings } from './issued-token.ts';
import { issuedTokenOf, oauthErrorOf, type RecordedRequest, sentIn } from './recorded-request.ts';

/** What was found out before any route was looked at. */
export interface Health {
  /** What exchanges show of the servers is added. */
  readonly servers: Map<AuthorizationServer, ServerHealth>;
  readonly keys: KeysBySource;
}

type Found = (finding: Finding) => void;

/** Tries what a request on a route would lead to: one exchange, and a look at what comes back. */
export async function checkRoute(
  route: Route,
  given: SubjectTokenInput | undefined,
  { servers, keys }: Health,
  context: CheckContext,
  found: Found,
): Promise<void> {
  const { credential } = route;
  if (credential.kind === 'passthrough' || credential.kind === 'none') {
    return found(fine('route_needs_no_token', `credential: ${credential.kind}, so there is nothing to exchange`));
  }
  const sick = serversOf(credential).find((server) => servers.get(server)?.fit !== true);
  if (sick !== undefined) {
    return found(
      warning('route_not_checked', 'no exchange was tried', {
        why: `authorization server "${sick.name}" has to be fixed first`,
      }),
    );
  }
  const subject = await checkSubject(route, given, keys, context, found);
  if (subject === 'missing') return;
  const from = context.requests.length;
  const wanted = { route, credential, subject, resource: route.name, refresh: false };
  const failure = await failureOf(() => context.exchange(wanted));
  const answers = context.requests.slice(from).filter(({ method }) => method === 'POST');
  const findings = await judge(credential, answers, subject, failure);
  for (const finding of findings) found(finding);
  const issued = answers.findLast((answer) => issuedTokenOf(answer) !== undefined);
  if (issued !== undefined) compareClocks(serverOf(credential, issued), issued, servers, found);
}

/** Where the server did not say what time it has, or dates its tokens by another clock than its answers. */
function compareClocks(
  server: AuthorizationServer,
  issued: RecordedRequest,
  health: Map<AuthorizationServer, ServerHealth>,
  found: Found,
): void {
  const clock = health.get(server)?.clock;
  const skew = skewByIssue(readClaims(issuedTokenOf(issued) ?? '') ?? {}, { ...issued, date: undefined });
  if (skew === undefined || clock === 'differs') return;
  const finding = clockFinding(skew, '"iat" of the issued token');
  if (clock === 'agrees' && finding.severity !== 'error') return;
  health.set(server, { fit: true, clock: finding.severity === 'ok' ? 'agrees' : 'differs' });
  found(finding);
}

/** What the answers of one exchange mean; of a chain, those of both legs. */
async function judge(
  credential: TokenCredential,
  answers: readonly RecordedRequest[],
  subject: Subject | undefined,
  failure: CambistError | undefined,
): Promise<Finding[]> {
  const last = answers.at(-1);
  if (last === undefined) return failure === undefined ? [] : [unsent(failure)];
  const server = serverOf(credential, last);
  if (last.status === undefined) return [await unreachableServer(server, last)];
  const claims = subject && readClaims(subject.token.reveal());
  const chain = credential.kind === 'exchange' ? credential.chain : undefined;
  const secondLeg = chain !== undefined && server === credential.authorizationServer;
  const refusal = oauthErrorOf(last);
  if (refusal !== undefined)
    return [exchangeErrorFinding({ server, answer: last, refusal, subject: claims, secondLeg })];
  const token = issuedTokenOf(last);
  if (token === undefined)
    return [failure === undefined || last.status >= 500 ? unavailableFinding(last) : unusable(failure)];
  const findings = issuedFindings({
    server,
    target: chain !== undefined && !secondLeg ? firstLegTarget(chain, credential.target) : credential.target,
    answer: last,
    claims: readClaims(token),
    subject: claims,
    repeated: findRepeated(token, [...answers.flatMap(sentIn), ...sentByCaller(subject)]),
  });
  const explained = failure === undefined || findings.some(({ severity }) => severity === 'error');
  return explained ? findings : [...findings, unusable(failure)];
}

function sentByCaller(subject: Subject | undefined): SentValue[] {
  return subject === undefined ? [] : [{ name: 'subject_token', value: subject.token.reveal(), isCredential: true }];
}

function unsent(failure: CambistError): Finding {
  return failure.code === 'ERR_CREDENTIAL_UNAVAILABLE' ? credentialFinding(failure) : unusable(failure);
}

function unusable(failure: CambistError): Finding {
  return problem('response_unusable', failure.message, {
    why: `the route would answer ${failure.status} ${failure.code}`,
  });
}

function serversOf(credential: TokenCredential): AuthorizationServer[] {
  const chain = credential.kind === 'exchange' ? credential.chain : undefined;
  return chain === undefined
    ? [credential.authorizationServer]
    : [chain.authorizationServer, credential.authorizationServer];
}

/** The server of a leg: in a chain the first is an exchange, and the second is not. */
function serverOf(credential: TokenCredential, { form }: RecordedRequest): AuthorizationServer {
  const [first, second] = serversOf(credential);
  const isFirst = second === undefined || form.get('grant_type')?.endsWith(':token-exchange') === true;
  return isFirst ? (first ?? credential.authorizationServer) : second;
}
