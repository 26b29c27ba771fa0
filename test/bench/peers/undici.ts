import { readFileSync } from 'node:fs';
import { type Peer, startProgram } from './peer.ts';

/** `node:http` and `undici.dispatch`, and nothing else. */
export const bareUndici: Peer = {
  name: 'bare undici',
  missing: () => undefined,
  start: (setup) => startProgram('undici-proxy', setup, setup.caFile && readFileSync(setup.caFile, 'utf8')),
};
