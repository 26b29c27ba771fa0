import type { AgentTokens } from '../config/agents.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Config } from '../config/config.ts';
import type { Route } from '../config/route.ts';
import type { Transmitter } from '../config/signals.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { readCredential } from '../secrets/credential.ts';
import { metadataUrls } from '../tokens/discovery.ts';
import { createOwnTokens } from '../tokens/own-tokens.ts';
import { issuerPeer, KEYS_TIMEOUT_MS } from '../tokens/server-request.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { readClaims } from '../tokens/token-text.ts';
import { assertionsOfOne, type CheckContext, caught } from './check-context.ts';
import { checkIntrospection } from './check-server.ts';
import { credentialFinding, type Finding, fine, problem, type Report, shortAscii, warning } from './finding.ts';
import { unusableMetadata } from './metadata-findings.ts';
import { serverPath, unreachable } from './unreachable.ts';

interface IssuerChecks {
  readonly config: Config;
  readonly only: Route | undefined;
  readonly routes: readonly Route[];
  readonly context: CheckContext;
  readonly report: Report;
}

/** Checks the keys, introspection endpoints and transmitters that tokens and signals are verified with. */
export function createIssuerChecks({ config, only, routes, context, report }: IssuerChecks) {
  const keyChecks = new Map<string, Promise<Finding>>();

  /** The verifier keeps keys, and requests those that failed no sooner than a cooldown allows. So each source is read once. */
  function keysOf(rules: SubjectVerification, at?: string): Promise<Finding> {
    const source = keySourceOf(rules);
    const checking = keyChecks.get(source) ?? checkKeys(rules, config.authorizationServers, context, at);
    keyChecks.set(source, checking);
    return checking;
  }

  /** Checks the rules for subject tokens and for callers of the agent. @returns the key sources whose tokens can be verified */
  async function checkVerification(): Promise<ReadonlySet<string>> {
    const all = routes.map(({ subjectToken }) => subjectToken.verify);
    if (only === undefined) all.unshift(config.inbound?.verify);
    const bySource = new Map(all.flatMap((rules) => (rules === undefined ? [] : [[keySourceOf(rules), rules]])));
    const verifiable = new Set<string>();
    for (const [source, rules] of bySource) {
      const { issuer, introspection, jwksUri } = rules;
      let works = true;
      if (introspection === undefined || jwksUri !== undefined)
        works = await report(
          'issuer',
          issuer,
          `keys of issuer "${issuer}", which verify subject tokens`,
          keysOf(rules),
        );
      if (introspection !== undefined) {
        const { name } = introspection.authorizationServer;
        const check = checkIntrospection(rules, name, context);
        works = (await report('issuer', issuer, `introspection at authorization server "${name}"`, check)) && works;
      }
      if (works) verifiable.add(source);
    }
    return verifiable;
  }

  async function checkOthers(): Promise<void> {
    const { token = [] } = config.agents ?? {};
    for (const [index, rules] of token.entries()) {
      const at = token.length === 1 ? 'agents.token' : `agents.token[${index}]`;
      const title = `keys of issuer "${rules.issuer}", which verify tokens of agents`;
      const check = async () => [await keysOf(rules, at), ...(await checkAgentIssuer(rules, at))];
      await report('issuer', rules.issuer, title, check());
    }
    for (const transmitter of only === undefined ? (config.signals?.transmitters ?? []) : []) {
      const { name, issuer } = transmitter;
      const rules = { ...transmitter, allowInsecureHttp: false };
      const keys = keysOf(rules, `signals.transmitters.${name}`);
      const check = async () => [await keys, ...(await checkTransmitter(transmitter, context))];
      await report('issuer', issuer, `transmitter "${name}", and the keys that verify its signals`, check());
    }
  }

  return { checkVerification, checkOthers };
}

/**
 * Fetches the keys that verify the subject tokens of an issuer, as the proxy does before it is ready.
 * @param servers all servers of the config; the issuer shares its CA with the one of the same issuer
 * @param at path of the rules in the config
 */
async function checkKeys(
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
async function checkAgentIssuer({ issuer, jwksToken }: AgentTokens, at: string): Promise<Finding[]> {
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
async function checkTransmitter(transmitter: Transmitter, { pool, clock, endpoint }: CheckContext): Promise<Finding[]> {
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
