import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../clock/clock.ts';
import type { ListenerFiles } from '../config/addresses.ts';
import { type Config, tlsListeners } from '../config/config.ts';
import { decisionSecrets } from '../config/decisions.ts';
import type { Inbound } from '../config/inbound.ts';
import type { SharedCache } from '../config/shared-cache.ts';
import type { Team } from '../config/teams.ts';
import { type Endpoint, withBrackets } from '../host-names.ts';
import { readFiles, splitCertificates } from '../listeners/tls.ts';
import { readCredential, readPseudonymKey } from '../secrets/credential.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import { errorSummary, shownFiles } from '../teams/shown-files.ts';
import { caught } from './check-context.ts';
import { credentialFinding, type Finding, fine, problem, type Report, shortAscii, warning } from './finding.ts';
import { codeOf } from './unreachable.ts';

/** The agent, or the SPIFFE agent, may take this long. */
const RESPONSE_MS = 2000;

/** A lower status shows that the agent works: it may have no such path, or require a token. */
const FIRST_SERVER_ERROR = 500;

export async function checkOwnParts(
  config: Config,
  spiffe: WorkloadApi | undefined,
  nowMs: number,
  report: Report,
): Promise<void> {
  const { inbound, signals, cache } = config;
  for (const [key, finding] of await checkSecrets(config)) await report('secret', key, key, finding);
  for (const { name, tls } of tlsListeners(config))
    await report('listener', name, `TLS of ${name}`, checkListener(tls, name, nowMs));
  if (inbound !== undefined)
    await report('agent', '', 'agent, which callers reach through inbound.listen', checkAgent(inbound));
  if (cache.shared !== undefined) {
    const title = `shared cache: ${storeServersOf(cache.shared)}`;
    await report('shared_cache', '', title, checkSharedCache(cache.shared, signals !== undefined));
  }
  if (spiffe !== undefined) await report('spiffe', '', `SPIFFE agent: ${config.spiffe?.socket}`, checkSpiffe(spiffe));
}

/** Sends the agent a GET without a token, for an open path if there is one. */
async function checkAgent({ agent, open }: Inbound): Promise<Finding> {
  const path = open.find(({ isPrefix }) => !isPrefix)?.path ?? '/';
  const { origin, socketPath } = agent;
  const where = socketPath === undefined ? origin : `unix:${socketPath}`;
  const signal = AbortSignal.timeout(RESPONSE_MS);
  const sent = request(`${origin}${path}`, { agent: false, signal, ...(socketPath !== undefined && { socketPath }) });
  sent.end();
  try {
    const [{ statusCode = 0 }] = (await once(sent, 'response')) as [IncomingMessage];
    const what = `the agent at ${where} responds with ${statusCode} to GET ${path}`;
    if (statusCode < FIRST_SERVER_ERROR) return fine('agent_reached', what);
    return warning('agent_error', what, { fix: "check the agent's log: it may not have started completely" });
  } catch (error) {
    const code = codeOf(error);
    const isAway = code === 'ECONNREFUSED' || code === 'ENOENT';
    const broken = signal.aborted ? 'it did not respond in time' : `it does not respond in plain HTTP (${code})`;
    return problem('agent_unreachable', `the agent at ${where} cannot be reached`, {
      why: isAway ? `nothing listens there (${code})` : broken,
      fix: 'start the agent where inbound.agent says, without TLS, or correct inbound.agent: agents often read their port from PORT',
    });
  } finally {
    sent.on('error', () => {}).destroy();
  }
}

/** Connects to the SPIFFE agent, whose SVIDs other checks use, and waits for the first one. */
export async function openSpiffe(address: string): Promise<WorkloadApi> {
  // Loaded here, because most configs have no SPIFFE agent.
  const { createWorkloadApi } = await import('../spiffe/workload-api.ts');
  const api = createWorkloadApi({ address, clock: systemClock, logger: { info() {}, warn() {} } });
  await Promise.race([api.ready, delay(RESPONSE_MS, undefined, { ref: false })]);
  return api;
}

async function checkSpiffe(api: WorkloadApi): Promise<Finding> {
  const { failure } = await caught(api.prepare);
  const [svid, trustDomains] = [api.svid(), [...api.bundles().keys()]];
  if (svid === undefined) {
    const why = shortAscii((failure?.cause as Error | undefined)?.message ?? 'it did not respond in time');
    return problem('spiffe_unavailable', failure?.message ?? 'no SVID', { why });
  }
  const until = new Date(svid.expiresAtMs).toISOString();
  return fine('spiffe_reached', `it issues ${svid.spiffeId.id} until ${until}, for ${trustDomains.join(', ')}`);
}

/** Reads the secrets and keys that no other check reads. @returns the finding on each that cannot be read, by its key in the config */
async function checkSecrets({ decisions, audit, cache }: Config) {
  const { shared } = cache;
  const reads = new Map<string, () => Promise<unknown>>();
  for (const { key, secret } of decisionSecrets(decisions)) reads.set(key, () => readCredential(secret, key));
  const pseudonymKey = audit?.pseudonymize?.key;
  if (pseudonymKey !== undefined) reads.set('audit.pseudonymize.key', () => readPseudonymKey(pseudonymKey));
  if (shared !== undefined) {
    // Loaded here, because most configs have no shared cache.
    const { createStoreKeys } = await import('../shared-cache/seal.ts');
    reads.set('cache.shared.key', createStoreKeys(shared.keys).read);
  }
  const findings: (readonly [key: string, Finding])[] = [];
  for (const [key, read] of reads) {
    const { failure } = await caught(read);
    if (failure !== undefined) findings.push([key, credentialFinding(failure)]);
  }
  return findings;
}

/**
 * Checks the server of the shared cache. Writes values, which it removes.
 * @param withSignals whether replicas share revocations through it
 */
async function checkSharedCache(shared: SharedCache, withSignals: boolean): Promise<Finding> {
  const { probeStore } = await import('../shared-cache/probe-store.ts');
  const result = await probeStore(shared, withSignals);
  if (result.problem === undefined) {
    const ms = Math.ceil(result.durationMs);
    const what = `the server accepts writes, scripts and messages; an operation took ${ms} ms of ${shared.timeoutMs} ms`;
    return fine('shared_cache_reached', what);
  }
  const { cause, fix } = result;
  const why = `${result.problem}: ${cause}`;
  const alone = withSignals ? 'share no revocations, do not become ready after a start, and ' : '';
  return problem('shared_cache_unavailable', `replicas cannot use it: they ${alone}exchange alone`, { why, fix });
}

/** The servers as a title names them. */
function storeServersOf({ server }: SharedCache): string {
  const nodes: readonly Endpoint[] = server.kind === 'standalone' ? [server.node] : server.nodes;
  return nodes.map(({ host, port }) => `${withBrackets(host)}:${port}`).join(', ');
}

/** The last part of a lifetime, in which renewal is late. Certificates live for hours or for years. */
const LATE = 0.1;

/** Checks the TLS files of a listener. @param at path of the listener in the config */
export async function checkListener(files: ListenerFiles, at: string, nowMs: number): Promise<Finding> {
  const { failure, value } = await caught(() => readFiles(files, at));
  if (value === undefined) return credentialFinding(failure as NonNullable<typeof failure>);
  const own = parsed(() => new X509Certificate(value.cert));
  const key = parsed(() => createPrivateKey(value.key));
  const issuers = parsed(() => splitCertificates(value.ca ?? '').map((each) => new X509Certificate(each)));
  const mistake =
    (own === undefined && 'certificate is not a certificate') ||
    (key === undefined && 'private_key is not a private key') ||
    (issuers === undefined && 'client_ca has a certificate that cannot be read') ||
    (value.ca !== undefined && issuers?.length === 0 && 'client_ca has no certificate');
  if (mistake !== false || own === undefined || key === undefined || issuers === undefined) {
    const fix = 'write it as PEM; a key must not be encrypted';
    return problem('listener_files_invalid', `${at}.tls.${mistake}`, { fix });
  }
  if (!own.checkPrivateKey(key)) {
    const fix = 'name the key from which this certificate was requested; in a chain, the own certificate comes first';
    return problem('listener_files_invalid', `${at}.tls.private_key does not belong to ${at}.tls.certificate`, { fix });
  }
  const names = shortAscii(own.subjectAltName ?? 'no name, so that clients refuse it');
  const what = `the certificate is for ${names}; it is valid from ${own.validFrom} until ${own.validTo}`;
  const [fromMs, untilMs] = [Date.parse(own.validFrom), Date.parse(own.validTo)];
  const fix = 'renew it: cambist reads the file again when it changes; if its dates are correct, check the clock';
  if (nowMs < fromMs) return problem('certificate_not_yet_valid', what, { why: 'clients refuse it', fix });
  if (nowMs >= untilMs) return problem('certificate_expired', what, { why: 'clients refuse it', fix });
  const expired = issuers.find(({ validTo }) => Date.parse(validTo) <= nowMs);
  if (expired !== undefined) {
    const why = 'clients with certificates of this CA cannot connect';
    const ofClients = `a certificate in ${at}.tls.client_ca expired on ${expired.validTo}`;
    return problem('certificate_expired', ofClients, {
      why,
      fix: 'write the current certificate of the CA into the file',
    });
  }
  const isLate = untilMs - nowMs < LATE * (untilMs - fromMs);
  return isLate
    ? warning('listener_certificate', what, { why: 'its renewal is late', fix })
    : fine('listener_certificate', what);
}

function parsed<Value>(parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

/** The routes of a team are checked as all others, unless a file is invalid. */
export function checkTeam(team: Team): Finding[] {
  const { routes, isOpen } = team;
  if (isOpen) return [fine('team_files_valid', `every file is valid; number of routes: ${routes.length}`)];
  return [...shownFiles(team)].flatMap(([shown, file]) => {
    if (file.isValid) return [];
    const { first, count } = errorSummary(shown, file);
    const why = count === 1 ? first : `${first}; number of further errors: ${count - 1}`;
    const fix = 'fix it, or let the team fix it: "cambist validate" shows every problem';
    return [problem('team_file_invalid', `"${shown}" is invalid, so requests in the region get 503`, { why, fix })];
  });
}
