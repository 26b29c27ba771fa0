import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { freePort } from '../../harness/free-port.ts';
import { has, startPinned } from '../processes.ts';
import { accepts, type Peer, running, until } from './peer.ts';

/**
 * AuthBridge of rossoctl/cortex as a forward proxy. It does the same work: an exchange, its cache, and the call. Its recording of
 * sessions is on by default and off here, because cambist records none. It logs to a pipe, like cambist.
 * @param program the binary `cortex`, or `authbridge-proxy` of earlier versions, with the plugin `token-exchange`
 */
export function createAuthbridge(program: string): Peer {
  return {
    name: 'AuthBridge',
    missing: () => (has(program) ? undefined : `"${program}" does not run`),
    async start({ directory, issuer, origin }) {
      const config = join(directory, 'authbridge.yaml');
      const [port, health, stats, sessionApi, transparent] = await Promise.all(Array.from({ length: 5 }, freePort));
      const at = (one: number | undefined): string => `127.0.0.1:${one}`;
      writeFileSync(
        config,
        stringify({
          mode: 'proxy-sidecar',
          listener: {
            roles: ['forward'],
            forward_proxy_addr: at(port),
            health_addr: at(health),
            session_api_addr: at(sessionApi),
            transparent_proxy_addr: at(transparent),
          },
          session: { enabled: false },
          stats: { address: at(stats) },
          pipeline: { inbound: { plugins: [] }, outbound: { plugins: [tokenExchange(issuer, origin)] } },
        }),
      );
      const startedMs = performance.now();
      const child = startPinned('proxy', program, ['--config', config], { stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout?.resume();
      child.stderr?.resume();
      // Earlier versions have a fixed port for health checks.
      await until(child, () => accepts(port ?? 0));
      return { ...running(child, port ?? 0, performance.now() - startedMs), isForwardProxy: true };
    },
  };
}

function tokenExchange(issuer: string, origin: string): object {
  return {
    name: 'token-exchange',
    config: {
      token_url: `${issuer}/token`,
      identity: { type: 'client-secret', client_id: 'cambist', client_secret: 'a secret for the bench' },
      routes: { rules: [{ host: new URL(origin).hostname, target_audience: 'bench' }] },
    },
  };
}
