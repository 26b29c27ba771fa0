import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Route } from '../config/route.ts';
import type { Transmitter } from '../config/signals.ts';
import { routesUnawareOfDisabledUsers } from '../config/used-servers.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { metadataUrls } from '../tokens/discovery.ts';
import { createOwnTokens } from '../tokens/own-tokens.ts';
import { issuerPeer, KEYS_TIMEOUT_MS } from '../tokens/server-request.ts';
import { assertionsOfOne, type CheckContext } from './check-context.ts';
import { attempt, credentialFinding } from './check-server.ts';
import { type Found, fine, listed, problem, warning } from './finding.ts';
import { readKeySet, type UsableKey } from './key-set.ts';
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
    found(unusableMetadata(lookup, requests, failure?.message ?? ''));
    return undefined;
  }
  const { finding, keys } = await readKeySet(forKeys, jwksUri !== undefined);
  found(finding);
  return finding.severity === 'ok' ? keys : undefined;
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

/** Warns where a transmitter is a Keycloak, whose signals leave out some revocations. */
export function checkUnseenRevocations({ issuer }: Transmitter, routes: readonly Route[], found: Found): void {
  const unaware = routesUnawareOfDisabledUsers(issuer, routes);
  if (unaware.length === 0) return;
  found(
    warning('users_not_signalled', `${listed(unaware)} serve disabled and deleted users until cached tokens expire`, {
      why: 'Keycloak sends no signal when an administrator disables or deletes a user',
      fix: 'set subject_token.verify.introspection, with a short cache',
    }),
  );
}
