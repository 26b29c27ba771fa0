import { createRequire } from 'node:module';
import { programFile } from '../programs.ts';
import { type Peer, programPeer } from './peer.ts';

/** npm http-proxy. Its last release is of May 2020, so it is no dependency of this project, and is measured where it is found. */
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
