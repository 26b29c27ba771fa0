import { CambistError } from '../errors.ts';
import type { ProxyObserver, RetryReason } from '../observability/proxy-observer.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import type { Switched } from './attempt.ts';
import { dispatch } from './dispatcher.ts';
import type { Passage } from './passage.ts';
import type { Relay } from './relay.ts';
import type { Traffic } from './traffic.ts';

export interface ForwardOptions {
  readonly dispatchers: Dispatchers;
  readonly observer: ProxyObserver;
  readonly traffic: Traffic;
}

/**
 * Sends an admitted request upstream, and what comes back to its caller.
 * @param switched given: the request is a WebSocket handshake
 */
export function forward(
  passage: Passage,
  { dispatchers, observer, traffic }: ForwardOptions,
  switched?: Switched,
): void {
  const { leg, route } = passage;
  if (leg === undefined || route === undefined) throw new CambistError('ERR_INTERNAL', 'a request was not admitted');
  const answered = (error: Error | null, relay?: Relay): void => {
    if (relay === undefined) traffic.problem(passage, error);
    else traffic.relay(passage, relay);
  };
  const onRetry = (reason: RetryReason): void => observer.upstreamRetried(route, reason);
  dispatch({ passage, leg, route, dispatchers, onRetry, answered, switched });
}
