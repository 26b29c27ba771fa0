import type { Config } from '../config/config.ts';
import { decisionSecrets } from '../config/decisions.ts';
import { ownActor } from '../config/route.ts';
import type { Transmitter } from '../config/signals.ts';
import type { ReadinessCheck } from '../observability/readiness.ts';
import { readCredential } from '../secrets/credential.ts';
import { secretName } from '../tokens/route-secret.ts';
import { neededServers, type TokenService } from '../tokens/token-service.ts';
import { type Dispatchers, upstreamPeer } from '../transport/dispatchers.ts';

export interface CheckedParts {
  readonly tokens: Pick<TokenService, 'prepare' | 'verifier'>;
  readonly dispatchers: Dispatchers;
  readonly audit: { prepare(): Promise<void> } | undefined;
  readonly signals?:
    | { prepare(transmitter: Transmitter): Promise<void>; readonly readKept?: (() => Promise<void>) | undefined }
    | undefined;
  readonly spiffe?: { prepare(): Promise<void> } | undefined;
}

/**
 * The readiness checks of a config. The key of a check changes with its subject.
 * @param inForce the sections that change with a restart only
 */
export function readinessChecks(
  config: Config,
  inForce: Pick<Config, 'audit' | 'signals'>,
  parts: CheckedParts,
): Map<string, ReadinessCheck> {
  const { tokens, dispatchers } = parts;
  const checks = new Map<string, ReadinessCheck>();
  const check = (name: string, subject: unknown, run: ReadinessCheck['run']): void => {
    checks.set(JSON.stringify([name, subject]), { name, run });
  };
  // Without it, requests are served and records are dropped.
  const { audit, signals } = inForce;
  if (parts.audit !== undefined && audit?.onFull === 'refuse') check('audit', audit, parts.audit.prepare);
  if (parts.spiffe !== undefined) check('spiffe', undefined, parts.spiffe.prepare);
  for (const server of neededServers(config)) {
    check(`authorization_servers.${server.name}`, server, () => tokens.prepare(server));
  }
  const { signals: receiver } = parts;
  for (const transmitter of receiver === undefined ? [] : (signals?.transmitters ?? [])) {
    check(`signals.transmitters.${transmitter.name}`, transmitter, async () => receiver?.prepare(transmitter));
  }
  // A replica that does not know which tokens are revoked would serve them.
  if (receiver?.readKept !== undefined) check('cache.shared', signals, receiver.readKept);
  const callers = config.inbound?.verify;
  if (callers !== undefined) check('inbound.verify', callers, () => tokens.verifier.prepare(callers));
  const agentTokens = config.agents?.token ?? [];
  for (const [index, rules] of agentTokens.entries()) {
    const name = agentTokens.length === 1 ? 'agents.token' : `agents.token[${index}]`;
    check(name, rules, () => tokens.verifier.prepare(rules));
  }
  // Without it, every decision is refused.
  for (const { key, secret } of decisionSecrets(config.decisions))
    check(key, secret, () => readCredential(secret, key));
  for (const route of config.routes) {
    // A mistake of a team must not take the whole gateway out of service.
    if (route.team !== undefined) continue;
    const { name, tls, credential } = route;
    const { verify, own } = route.subjectToken;
    if (tls !== undefined) check(`routes.${name}.tls`, tls, async () => dispatchers.for(upstreamPeer(route)));
    if (verify !== undefined)
      check(`routes.${name}.subject_token.verify`, verify, () => tokens.verifier.prepare(verify));
    if (credential.kind === 'secret') {
      check(`routes.${name}.secret`, credential.source, () => readCredential(credential.source, secretName(route)));
    }
    if (credential.kind !== 'exchange') continue;
    const actor = ownActor(credential);
    if (actor !== undefined) {
      check(`routes.${name}.actor_token`, actor, () => readCredential(actor, `actor token of route "${name}"`));
    }
    if (own !== undefined) {
      check(`routes.${name}.subject_token`, own, () => readCredential(own, `subject token of route "${name}"`));
    }
  }
  return checks;
}
