import type { AgentTokens } from '../config/agents.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Transmitter } from '../config/signals.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { readCredential } from '../secrets/credential.ts';
import { metadataUrls } from '../tokens/discovery.ts';
import { createOwnTokens } from '../tokens/own-tokens.ts';
import { issuerPeer, KEYS_TIMEOUT_MS } from '../tokens/server-request.ts';
import { readClaims } from '../tokens/token-text.ts';
import { assertionsOfOne, type CheckContext } from './check-context.ts';
import { attempt, credentialFinding } from './check-server.ts';
import { type Found, fine, problem, shortAscii, warning } from './finding.ts';
import { isOfAgents, readKeySet, type UsableKey } from './key-set.ts';
import { unusableMetadata } from './metadata-findings.ts';
import type { RecordedRequest } from './recorded-request.ts';
import { type ConfigPaths, serverPath, unreachable } from './unreachable.ts';

/**
 * Fetches the keys that verify the subject tokens of an issuer, as the proxy does before it is ready.
 * @param servers all servers of the config; the issuer shares its CA with the one of the same issuer
 * @param at path of the rules in the config
 * @returns undefined if no token can be verified
 */
export async function checkKeys(
  rules: SubjectVerification,
  servers: readonly AuthorizationServer[],
  { verifier, requests: recorded }: CheckContext,
  found: Found,
  at = 'subject_token.verify',
): Promise<readonly UsableKey[] | undefined> {
  const { failure, requests } = await attempt(() => verifier.prepare(rules), recorded);
  if (failure?.code === 'ERR_CREDENTIAL_UNAVAILABLE') {
    found(credentialFinding(failure));
    return undefined;
  }
  const { issuer, jwksUri } = rules;
  const forKeys = jwksUri === undefined ? requests.find(({ url }) => !metadataUrls(issuer).includes(url)) : requests[0];
  const failed = failedRequest(forKeys, requests);
  if (failed !== undefined) {
    const { url, error } = failed;
    const paths = configPathsOf(rules, servers, forKeys !== undefined, at);
    found(await unreachable({ url, error, paths, ca: rules.ca, timeoutMs: KEYS_TIMEOUT_MS }));
    return undefined;
  }
  if (forKeys === undefined) {
    const allowInsecure = 'allow_insecure_http: true beside subject_token';
    const lookup = { ...rules, path: at, endpoint: 'jwks_uri', allowInsecure } as const;
    const finding = unusableMetadata(lookup, requests, failure?.message ?? '');
    const isRefused = isOfAgents(at) && requests.some(({ status }) => status === 401 || status === 403);
    found(isRefused ? { ...finding, ...METADATA_REFUSED } : finding);
    return undefined;
  }
  const { finding, keys } = await readKeySet(forKeys, { at, configured: jwksUri !== undefined });
  found(finding);
  return finding.severity === 'ok' ? keys : undefined;
}

const METADATA_REFUSED = {
  why: 'an API server of Kubernetes shows its metadata to service accounts only',
  fix: `set jwks_uri to https://kubernetes.default.svc/openid/v1/jwks, and jwks_token to the file of cambist's own service account token`,
};

/**
 * Compares the issuer of agents' tokens with that of cambist's own service account token: one cluster issued both. With a configured
 * `jwks_uri`, no metadata names the issuer.
 */
export async function checkAgentIssuer({ issuer, jwksToken }: AgentTokens, at: string, found: Found): Promise<void> {
  if (jwksToken === undefined) return;
  const { value } = await attempt(() => readCredential(jwksToken, 'token'));
  const own = value && readClaims(value.reveal().trim())?.iss;
  if (typeof own !== 'string' || own === issuer) return;
  const named = shortAscii(own);
  found(
    warning(
      'issuer_mismatch',
      `the token in ${at}.jwks_token has the issuer "${named}", but ${at}.issuer is "${issuer}"`,
      {
        why: "a cluster's tokens have one issuer, and tokens of agents with another get 401",
        fix: `set ${at}.issuer to "${named}", unless the agents run in another cluster`,
      },
    ),
  );
}

/** The request without a response that prevented the keys from being fetched. @param forKeys the request for the keys themselves */
function failedRequest(
  forKeys: RecordedRequest | undefined,
  requests: readonly RecordedRequest[],
): RecordedRequest | undefined {
  if (forKeys !== undefined) return forKeys.status === undefined ? forKeys : undefined;
  return requests.every(({ status }) => status === undefined) ? requests[0] : undefined;
}

/** @param located whether the address of the keys is known */
function configPathsOf(
  { issuer, jwksUri }: SubjectVerification,
  servers: readonly AuthorizationServer[],
  located: boolean,
  at: string,
): ConfigPaths {
  const discovered = located ? `${at}.jwks_uri or the issuer's metadata` : `${at}.issuer or jwks_uri`;
  const address = jwksUri === undefined ? discovered : `${at}.jwks_uri`;
  if (isOfAgents(at)) return { address, ca: `${at}.tls.ca` };
  const server = servers.find((candidate) => candidate.issuer === issuer);
  if (server !== undefined) return { address, ca: `${serverPath(server)}.tls.ca` };
  return { address, ca: `tls.ca of an authorization server with the issuer "${issuer}"` };
}

/** Polls a transmitter once, as the proxy does, and acknowledges no event. Transmitters that only send are not checked. */
export async function checkTransmitter(
  transmitter: Transmitter,
  { pool, clock, endpoint }: CheckContext,
  found: Found,
): Promise<void> {
  const { name, delivery, pollEndpoint } = transmitter;
  if (delivery !== 'poll' || pollEndpoint === undefined) return;
  // Loaded here, because most configs have no transmitter.
  const { probeTransmitter } = await import('../signals/poller.ts');
  const tokens = createOwnTokens(endpoint, assertionsOfOne(clock));
  const failure = await probeTransmitter(transmitter, pollEndpoint, {
    dispatcher: () => pool(issuerPeer(transmitter)),
    tokens: () => tokens,
    clock,
  });
  if (failure === undefined) {
    found(fine('transmitter_reached', `transmitter "${name}" responds to polls`));
    return;
  }
  const { cause, fix } = failure;
  const why = `${failure.problem}: ${cause}`;
  found(problem('transmitter_unavailable', `signals of transmitter "${name}" do not arrive`, { why, fix }));
}
