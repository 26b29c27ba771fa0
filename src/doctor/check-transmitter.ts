import type { Route } from '../config/route.ts';
import type { Transmitter } from '../config/signals.ts';
import { routesUnawareOfDisabledUsers } from '../config/used-servers.ts';
import { createOwnTokens } from '../tokens/own-tokens.ts';
import { issuerPeer } from '../tokens/server-request.ts';
import { assertionsOfOne, type CheckContext } from './check-context.ts';
import { type Found, fine, listed, problem, warning } from './finding.ts';

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
