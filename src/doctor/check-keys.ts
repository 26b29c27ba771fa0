import type { AuthorizationServer, SubjectVerification } from '../config/config.ts';
import { KEYS_TIMEOUT_MS } from '../tokens/jwks.ts';
import { metadataUrls } from '../tokens/metadata.ts';
import type { CheckContext } from './check-context.ts';
import { credentialFinding, failureOf } from './check-server.ts';
import type { ConfigPaths } from './connection.ts';
import type { Finding } from './finding.ts';
import { readKeySet, type UsableKey } from './key-set.ts';
import { place } from './metadata.ts';
import type { RecordedRequest } from './recorded-request.ts';
import { unreachable } from './unreachable.ts';
import { unusableMetadata } from './unusable-metadata.ts';

/**
 * Fetches the keys that subject tokens of an issuer are verified by, as the program does before it is ready.
 * @param servers all of the config: with one of them the issuer shares its CA
 * @returns undefined where no token can be verified
 */
export async function checkKeys(
  rules: SubjectVerification,
  servers: readonly AuthorizationServer[],
  { verifier, requests }: CheckContext,
  found: (finding: Finding) => void,
): Promise<readonly UsableKey[] | undefined> {
  const from = requests.length;
  const failure = await failureOf(() => verifier.prepare(rules));
  const answers = requests.slice(from);
  if (failure?.code === 'ERR_CREDENTIAL_UNAVAILABLE') {
    found(credentialFinding(failure));
    return undefined;
  }
  const { issuer, jwksUri } = rules;
  const answer = jwksUri === undefined ? answers.find(({ url }) => !metadataUrls(issuer).includes(url)) : answers[0];
  const unanswered = unansweredOf(answer, answers);
  if (unanswered !== undefined) {
    const { url, error } = unanswered;
    const places = placesOf(rules, servers, answer !== undefined);
    found(await unreachable({ url, error, places, ca: rules.ca, timeoutMs: KEYS_TIMEOUT_MS }));
    return undefined;
  }
  if (answer === undefined) {
    const allowInsecure = 'allow_insecure_http: true beside subject_token';
    const { allowInsecureHttp } = rules;
    const place = 'subject_token.verify';
    const lookup = { issuer, place, endpoint: 'jwks_uri', allowInsecure, allowInsecureHttp } as const;
    found(unusableMetadata(lookup, answers, failure?.message ?? ''));
    return undefined;
  }
  const { finding, keys } = await readKeySet(answer, jwksUri !== undefined);
  found(finding);
  return finding.severity === 'ok' ? keys : undefined;
}

/** The request that got no answer, and without which there are no keys. @param answer to the request for the keys themselves */
function unansweredOf(
  answer: RecordedRequest | undefined,
  answers: readonly RecordedRequest[],
): RecordedRequest | undefined {
  if (answer !== undefined) return answer.status === undefined ? answer : undefined;
  return answers.every(({ status }) => status === undefined) ? answers[0] : undefined;
}

/** @param known is the address of the keys known, and only they are not to be had? */
function placesOf(
  { issuer, jwksUri }: SubjectVerification,
  servers: readonly AuthorizationServer[],
  known: boolean,
): ConfigPaths {
  const at = 'subject_token.verify';
  const discovered = known ? `${at}.jwks_uri or the issuer's metadata` : `${at}.issuer or jwks_uri`;
  const server = servers.find((candidate) => candidate.issuer === issuer);
  return {
    address: jwksUri === undefined ? discovered : `${at}.jwks_uri`,
    timeout: undefined,
    ca:
      server === undefined
        ? `tls.ca of an authorization server with the issuer "${issuer}"`
        : `${place(server)}.tls.ca`,
    certificate: undefined,
  };
}
