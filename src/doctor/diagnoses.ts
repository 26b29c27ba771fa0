import type { Route } from '../config/route.ts';
import type { Diagnosis } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import type { RefusedToken } from '../proxy/backend-failure.ts';
import type { FailedDiscovery, FailedTokenRequest, FailedVerification } from '../tokens/diagnosis.ts';
import { findRepeated, hideCredentials, type SentValue, sentInAuthorization } from '../tokens/sent-values.ts';
import type { Grant } from '../tokens/token-request.ts';
import { bareToken, readClaims, readIssuedClaims } from '../tokens/token-text.ts';
import { unavailableFinding } from './client-refusal.ts';
import { exchangeRefusal } from './exchange-errors.ts';
import type { Finding, ShowClaim } from './finding.ts';
import { issuedFindings, personalValues } from './issued-findings.ts';
import { lookupOf, unusableMetadata } from './metadata-findings.ts';
import { oauthErrorOf, quoting } from './oauth-error.ts';
import { issuedTokenOf } from './recorded-request.ts';
import { tokenRefusal } from './token-refusal.ts';
import { connectionFinding, settingsOfServer, settingsOfUpstream } from './unreachable.ts';
import { verificationFinding } from './verification-findings.ts';

/** Explains a token request that produced no token, as the doctor does. */
export function tokenRequest(failed: FailedTokenRequest): Diagnosis | undefined {
  const { server, url, failure } = failed;
  if (isUnreachable(failed))
    return diagnosisOf(connectionFinding({ url, error: failure.cause, ...settingsOfServer(server) }));
  const findings = tokenRequestFindings(failed, showRedacted(failed.sent));
  return diagnosisOf(findings.find(({ severity }) => severity === 'error'));
}

export function isUnreachable({ response, failure }: FailedTokenRequest): boolean {
  return response === undefined && failure.code === 'ERR_STS_UNAVAILABLE';
}

/**
 * The findings on a token request that produced no token. None if the error itself says everything.
 * @param words whether the finding of a refusal quotes the server
 */
export function tokenRequestFindings(failed: FailedTokenRequest, show: ShowClaim, words?: 'quoted'): Finding[] {
  const { server, request, grant, sent, response, failure, failedAtMs, hasSucceeded } = failed;
  if (response === undefined) return [];
  const { status, text } = response;
  const form = new URLSearchParams(failed.form);
  const recorded = { form, sentAtMs: failedAtMs, respondedAtMs: failedAtMs, status, text };
  const subject = readClaims(tokenIn(grant) ?? '');
  const refusal = oauthErrorOf(recorded, [...sent, ...personalValues(subject)]);
  if (refusal !== undefined) {
    const secondLeg = grant.kind === 'jwt_bearer' && grant.from === 'chain';
    const finding = exchangeRefusal({ server, request: recorded, refusal, subject, secondLeg, hasSucceeded, show });
    return [words === 'quoted' ? quoting(finding, refusal) : finding];
  }
  const token = issuedTokenOf(recorded);
  if (token === undefined) return failure.code === 'ERR_STS_UNAVAILABLE' ? [unavailableFinding(recorded)] : [];
  const { target, earlier } = request;
  const repeated = findRepeated(token, [...sent, ...(earlier?.values ?? [])], earlier?.digests);
  return issuedFindings({ server, target, request: recorded, ...readIssuedClaims(token), subject, repeated, show });
}

/** Explains why a server has no usable metadata, as the doctor does. */
export function discovery({ server, attempts, message }: FailedDiscovery): Diagnosis | undefined {
  const [first] = attempts;
  if (first === undefined) return undefined;
  if (attempts.every(({ response }) => response === undefined)) {
    const { url, error } = first;
    return diagnosisOf(connectionFinding({ url, error, ...settingsOfServer(server) }));
  }
  const responses = attempts.map(({ url, response }) => ({
    url,
    status: response?.status,
    text: response?.text ?? '',
  }));
  return diagnosisOf(unusableMetadata(lookupOf(server), responses, message));
}

/** Explains why the rules of a route refuse a subject token, as the doctor does. */
export function verification({ rules, token, failure }: FailedVerification): Diagnosis | undefined {
  if (failure.code !== 'ERR_SUBJECT_TOKEN_INVALID' || failure.expired) return undefined;
  const show = showRedacted([{ name: 'subject_token', value: token, isCredential: true }]);
  return diagnosisOf(verificationFinding({ rules, token, verdict: failure.message, show }));
}

/** Explains why a backend refuses an issued token, as `doctor --call` does. */
export function refusedToken({ authorization, error, description }: RefusedToken): Diagnosis | undefined {
  const show = showRedacted(sentInAuthorization(authorization));
  return diagnosisOf(tokenRefusal(`${error} ${description}`, bareToken(authorization), show));
}

/** Explains why a backend cannot be reached, as the doctor does. */
export function unreachable(route: Route, error: Error): Diagnosis | undefined {
  return diagnosisOf(connectionFinding({ url: route.upstream.origin, error, ...settingsOfUpstream(route) }));
}

function tokenIn(grant: Grant): string | undefined {
  if (grant.kind === 'token_exchange' || grant.kind === 'token_vault') return grant.subjectToken;
  return grant.kind === 'jwt_bearer' && grant.from === 'caller' ? grant.assertion : undefined;
}

function diagnosisOf(finding: Finding | undefined): Diagnosis | undefined {
  if (finding === undefined) return undefined;
  const { code, what, why, fix } = finding;
  return { finding: code, cause: why === undefined ? what : `${what}: ${why}`, fix };
}

/** Longest name in the log, in characters. */
const MAX_NAME_LENGTH = 120;

/** Makes a text safe for the log: hides everything that may be a token. The segments of a URL are judged one by one. */
function showRedacted(sent: readonly SentValue[]): ShowClaim {
  return (value) => {
    const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
    return hideCredentials(text.slice(0, MAX_NAME_LENGTH), sent).split('/').map(redact).join('/');
  };
}
