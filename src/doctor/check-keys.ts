import type { AgentTokens } from '../config/agents.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Transmitter } from '../config/signals.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { readCredential } from '../secrets/credential.ts';
import { metadataUrls } from '../tokens/discovery.ts';
import { createOwnTokens } from '../tokens/own-tokens.ts';
import { issuerPeer, KEYS_TIMEOUT_MS } from '../tokens/server-request.ts';
import { readClaims } from '../tokens/token-text.ts';
import { assertionsOfOne, type CheckContext, caught } from './check-context.ts';
import { credentialFinding, type Finding, fine, problem, shortAscii, warning } from './finding.ts';
import { unusableMetadata } from './metadata-findings.ts';
import { serverPath, unreachable } from './unreachable.ts';

/**
 * Fetches the keys that verify the subject tokens of an issuer, as the proxy does before it is ready.
 * @param servers all servers of the config; the issuer shares its CA with the one of the same issuer
 * @param at path of the rules in the config
 */
export async function checkKeys(
  rules: SubjectVerification,
  servers: readonly AuthorizationServer[],
  { attempt, verifier }: CheckContext,
  at = 'subject_token.verify',
): Promise<Finding> {
  const byKeys = { ...rules, introspection: undefined };
  const { failure, requests } = await attempt(() => verifier.prepare(byKeys));
  const last = requests.at(-1);
  if (failure === undefined) return fine('keys_found', `keys at ${last?.url}`);
  if (failure.code === 'ERR_CREDENTIAL_UNAVAILABLE') return credentialFinding(failure);
  const { issuer, jwksUri, ca } = rules;
  const address = jwksUri === undefined ? `${at}.issuer or jwks_uri` : `${at}.jwks_uri`;
  const isOfAgents = at.startsWith('agents.');
  if (last !== undefined && last.status === undefined) {
    const server = servers.find((candidate) => candidate.issuer === issuer);
    const stranger = `tls.ca of an authorization server with the issuer "${issuer}"`;
    const owner = isOfAgents ? at : server && serverPath(server);
    const paths = { address, ca: owner === undefined ? stranger : `${owner}.tls.ca` };
    return unreachable({ url: last.url, error: last.error, paths, ca, timeoutMs: KEYS_TIMEOUT_MS });
  }
  if (isOfAgents && (last?.status === 401 || last?.status === 403))
    return problem('keys_unavailable', failure.message, KUBERNETES);
  const urls = metadataUrls(issuer);
  if (jwksUri === undefined && requests.every(({ url }) => urls.includes(url)))
    return unusableMetadata({ issuer, path: at, endpoint: 'jwks_uri' }, requests, failure.message);
  return problem('keys_unavailable', failure.message, { fix: `check ${address}` });
}

const KUBERNETES = {
  why: 'an API server of Kubernetes shows its keys to service accounts only',
  fix: `set jwks_uri to https://kubernetes.default.svc/openid/v1/jwks, and jwks_token to the file of cambist's own service account token; bind the ClusterRole system:service-account-issuer-discovery to this account`,
};

/**
 * Compares the issuer of agents' tokens with that of cambist's own service account token: one cluster issued both. With a configured
 * `jwks_uri`, no metadata names the issuer.
 */
export async function checkAgentIssuer({ issuer, jwksToken }: AgentTokens, at: string): Promise<Finding[]> {
  if (jwksToken === undefined) return [];
  const { value } = await caught(() => readCredential(jwksToken, 'token'));
  const own = value && readClaims(value.reveal().trim())?.iss;
  if (typeof own !== 'string' || own === issuer) return [];
  const named = shortAscii(own);
  const what = `the token in ${at}.jwks_token has the issuer "${named}", but ${at}.issuer is "${issuer}"`;
  return [
    warning('issuer_mismatch', what, {
      why: "a cluster's tokens have one issuer, and tokens of agents with another get 401",
      fix: `set ${at}.issuer to "${named}", unless the agents run in another cluster`,
    }),
  ];
}

/** Polls a transmitter once, as the proxy does, and acknowledges no event. Transmitters that only send are not checked. */
export async function checkTransmitter(
  transmitter: Transmitter,
  { pool, clock, endpoint }: CheckContext,
): Promise<Finding[]> {
  const { name, delivery, pollEndpoint } = transmitter;
  if (delivery !== 'poll' || pollEndpoint === undefined) return [];
  // Loaded here, because most configs have no transmitter.
  const { probeTransmitter } = await import('../signals/poller.ts');
  const tokens = createOwnTokens(endpoint, assertionsOfOne(clock));
  const failure = await probeTransmitter(transmitter, pollEndpoint, {
    dispatcher: () => pool(issuerPeer(transmitter)),
    tokens: () => tokens,
    clock,
  });
  if (failure === undefined) return [fine('transmitter_reached', `transmitter "${name}" responds to polls`)];
  const { cause, fix } = failure;
  const why = `${failure.problem}: ${cause}`;
  return [problem('transmitter_unavailable', `signals of transmitter "${name}" do not arrive`, { why, fix })];
}
