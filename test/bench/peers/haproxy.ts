import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../harness/http-server.ts';
import { has, startPinned } from '../processes.ts';
import { accepts, type Peer, running, type Setup, until } from './peer.ts';

/** One thread, shared upstream connections, no log. */
export const haproxy: Peer = {
  name: 'haproxy',
  missing: () => (has('haproxy') ? undefined : 'not installed (apt-get install haproxy)'),
  async start(setup) {
    const port = await freePort();
    const config = join(setup.directory, 'haproxy.cfg');
    writeFileSync(config, configFor(setup, port));
    const startedMs = performance.now();
    const child = startPinned('proxy', 'haproxy', ['-db', '-q', '-f', config], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await until(child, () => accepts(port));
    return running(child, port, performance.now() - startedMs);
  },
};

function configFor({ origin, caFile }: Setup, port: number): string {
  const { host } = new URL(origin);
  const tls = caFile === undefined ? '' : `ssl verify required ca-file ${caFile} verifyhost localhost`;
  return `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend callers
  bind 127.0.0.1:${port}
  default_backend upstream
backend upstream
  http-request set-header Host ${host}
  server upstream ${host} ${tls}
`;
}
