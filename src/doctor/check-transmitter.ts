import type { Transmitter } from '../config/optional-sections.ts';
import { createOwnTokens } from '../tokens/own-tokens.ts';
import { issuerPeer } from '../tokens/peers.ts';
import type { CheckContext } from './check-context.ts';
import { type Found, fine, problem } from './finding.ts';

/**
 * Sends the requests that the proxy sends to a transmitter: for its metadata, for cambist's stream, and for events. It
 * acknowledges no event and creates no stream. Transmitters that only send are not asked.
 */
export async function checkTransmitter(
  transmitter: Transmitter,
  { pool, clock, endpoint }: CheckContext,
  found: Found,
): Promise<void> {
  const { name, delivery, client, pollEndpoint } = transmitter;
  if (delivery === undefined || (delivery === 'push' && client === undefined)) return;
  // Loaded here, because most configs have no transmitter.
  const { probeTransmitter } = await import('../signals/probe.ts');
  // One for all requests, because it keeps the token.
  const tokens = createOwnTokens(endpoint, clock);
  const result = await probeTransmitter(transmitter, {
    dispatcher: () => pool(issuerPeer(transmitter)),
    tokens: () => tokens,
    clock,
  });
  if ('problem' in result) {
    const { cause, fix } = result;
    const why = `${result.problem}: ${cause}`;
    found(problem('transmitter_unavailable', `signals of transmitter "${name}" do not arrive`, { why, fix }));
    return;
  }
  const stream = result.hasStream ? "knows cambist's stream" : 'accepts cambist, which creates its stream at the start';
  const facts = [
    // With poll_endpoint no stream was looked for.
    ...(pollEndpoint === undefined ? [stream] : []),
    ...(result.wasPolled ? ['responds to polls'] : []),
  ];
  found(fine('transmitter_reached', `transmitter "${name}" ${facts.join(', and ')}`));
}
