import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { programFile } from '../programs.ts';
import { type Peer, startProgram } from './peer.ts';

/** npm http-proxy. Its last release is of May 2020, so it is no dependency of this project, and is measured where it is found. */
export const httpProxy: Peer = {
  name: 'npm http-proxy',
  missing() {
    try {
      createRequire(programFile('http-proxy-proxy')).resolve('http-proxy');
      return undefined;
    } catch {
      return 'not installed: npm install --no-save http-proxy@1.18.1';
    }
  },
  start: (setup) => startProgram('http-proxy-proxy', setup, setup.caFile && readFileSync(setup.caFile, 'utf8')),
};
