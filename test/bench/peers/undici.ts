import { programPeer } from './peer.ts';

/** `node:http` and `undici.dispatch`, bodies streaming both ways, and nothing else. */
export const bareUndici = programPeer('bare undici', 'undici-proxy');

/** The same, but for bodies, which are read before they are sent on: quicker, and no way to treat a large one. */
export const bareUndiciWhole = programPeer('bare undici, bodies whole', 'undici-proxy', () => ({ wholeBodies: true }));

/** The first with a token exchange for each call: one exchange and the hop, nothing more. */
export const bareExchange = programPeer('bare undici, exchange each time', 'undici-proxy', ({ issuer }) => ({
  tokenEndpoint: `${issuer}/token`,
}));
