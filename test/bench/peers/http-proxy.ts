import { createRequire } from 'node:module';
import { programFile } from '../programs.ts';
import { type Peer, programPeer } from './peer.ts';

/** npm http-proxy. Its last release is from May 2020, so it is not a dependency of this project. It is measured if installed. */
export const httpProxy: Peer = {
  ...programPeer('npm http-proxy', 'http-proxy-proxy'),
  missing() {
    try {
      createRequire(programFile('http-proxy-proxy')).resolve('http-proxy');
      return undefined;
    } catch {
      return 'not installed (npm install --no-save http-proxy@1.18.1)';
    }
  },
};
