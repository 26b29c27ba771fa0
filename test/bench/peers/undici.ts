import { programPeer } from './peer.ts';

/** Only `node:http` and `undici.dispatch`, with streaming bodies. */
export const bareUndici = programPeer('bare undici', 'undici-proxy');

/** Like `bareUndici`, but reads bodies before sending them. This is faster, but unsuitable for large bodies. */
export const bareUndiciWhole = programPeer('bare undici, bodies whole', 'undici-proxy', () => ({ wholeBodies: true }));

/** Like `bareUndici`, with a token exchange for each call. */
export const bareExchange = programPeer('bare undici, exchange each time', 'undici-proxy', ({ issuer }) => ({
  tokenEndpoint: `${issuer}/token`,
}));
