import { connect, type Socket } from 'node:net';
import type { Reach } from '../transport/dispatchers.ts';
import { systemLookup } from '../transport/system-lookup.ts';

/** Limit for connecting to the far end of a tunnel. */
const CONNECT_MS = 5000;

/**
 * Connects to the far end of a tunnel, and calls one of the functions once. A caller that destroys the socket before gets no call.
 * @param failed called with the reason: the far end is unreachable, or is cambist itself
 */
export function connectFarEnd(
  to: { readonly host: string; readonly port: number },
  { lookup = systemLookup, refuse }: Reach,
  connected: (far: Socket) => void,
  failed: (reason: Error) => void,
): Socket {
  const far = connect({ ...to, allowHalfOpen: true, lookup });
  const timer = setTimeout(() => far.destroy(new Error('not connected in time')), CONNECT_MS);
  far.once('error', failed);
  far.once('close', () => clearTimeout(timer));
  far.once('connect', () => {
    clearTimeout(timer);
    far.off('error', failed);
    const reason = refuse?.(far);
    if (reason === undefined) {
      connected(far);
    } else {
      far.destroy();
      failed(reason);
    }
  });
  return far;
}
