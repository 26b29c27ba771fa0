import type { Route } from '../config/route.ts';
import type { Diagnosis } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import type { RefusedToken } from '../proxy/backend-failure.ts';
import type { FailedDiscovery, FailedTokenRequest, FailedVerification } from '../tokens/diagnosis.ts';
import { findRepeated, hideCredentials, type SentValue, sentInAuthorization } from '../tokens/sent-values.ts';
import type { Grant } from '../tokens/token-request.ts';
import { bareToken, readClaims, readIssuedClaims } from '../tokens/token-text.ts';
import { unavailableFinding } from './client-refusal.ts';
import { clockDifference } from './clocks.ts';
import { exchangeRefusal } from './exchange-errors.ts';
import type { Finding, ShowClaim } from './finding.ts';
import { issuedFindings } from './issued-findings.ts';
import { lookupOf, unusableMetadata } from './metadata-findings.ts';
import { oauthErrorOf } from './oauth-error.ts';
import { issuedTokenOf } from './recorded-request.ts';
import { tokenRefusal } from './token-refusal.ts';
import { connectionFinding, settingsOfServer, settingsOfUpstream } from './unreachable.ts';
import { verificationFindings } from './verification-findings.ts';

/** Explains a token request that produced no token, as the doctor does. */
export function tokenRequest(failed: FailedTokenRequest): Diagnosis | undefined {
  return diagnosisOf(tokenRequestFinding(failed));
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
  const claims = readClaims(token);
  const show = showRedacted([{ name: 'subject_token', value: token, isCredential: true }]);
  const [finding] = verificationFindings({ rules, token, claims, keys: undefined, verdict: failure.message, show });
  return diagnosisOf(finding);
}

/** Explains why a backend refuses an issued token, as `doctor --call` does. */
export function refusedToken(refused: RefusedToken): Diagnosis | undefined {
  const { authorization, error, description, date, receivedAtMs } = refused;
  return diagnosisOf(
    tokenRefusal({
      words: `${error} ${description}`,
      token: bareToken(authorization),
      show: showRedacted(sentInAuthorization(authorization)),
      aheadSeconds: clockDifference({ sentAtMs: receivedAtMs, respondedAtMs: receivedAtMs, date }),
    }),
  );
}

/** Explains why a backend cannot be reached, as the doctor does. */
export function unreachable(route: Route, error: Error): Diagnosis | undefined {
  return diagnosisOf(connectionFinding({ url: route.upstream.origin, error, ...settingsOfUpstream(route) }));
}

function tokenRequestFinding(failed: FailedTokenRequest): Finding | undefined {
  const { server, request, grant, url, sent, response, failure, failedAtMs, hasSucceeded } = failed;
  if (response === undefined) {
    if (failure.code !== 'ERR_STS_UNAVAILABLE') return undefined;
    return connectionFinding({ url, error: failure.cause, ...settingsOfServer(server) });
  }
  const { status, text } = response;
  const form = new URLSearchParams(failed.form);
  const recorded = { form, sentAtMs: failedAtMs, respondedAtMs: failedAtMs, status, text };
  const subject = readClaims(tokenIn(grant) ?? '');
  const show = showRedacted(sent);
  const refusal = oauthErrorOf(recorded, sent);
  if (refusal !== undefined) {
    const secondLeg = grant.kind === 'jwt_bearer' && grant.from === 'chain';
    return exchangeRefusal({ server, request: recorded, refusal, subject, secondLeg, hasSucceeded, show });
  }
  const token = issuedTokenOf(recorded);
  if (token === undefined) return failure.code === 'ERR_STS_UNAVAILABLE' ? unavailableFinding(recorded) : undefined;
  const { target, earlier } = request;
  const repeated = findRepeated(token, [...sent, ...(earlier?.values ?? [])], earlier?.digests);
  const issued = { server, target, request: recorded, ...readIssuedClaims(token), subject, repeated, show };
  return issuedFindings(issued).find(({ severity }) => severity === 'error');
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
