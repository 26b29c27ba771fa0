import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { installEnvoy } from '../../external/installs.ts';
import { freePort } from '../../harness/http-server.ts';
import { runCommand } from '../../harness/run-command.ts';
import { has, startPinned } from '../processes.ts';
import { accepts, type Peer, running, until } from './peer.ts';

interface Bootstrap {
  readonly static_resources: {
    readonly listeners: [{ filter_chains: [{ filters: [{ typed_config: Manager }] }] }];
  };
}

interface Manager {
  http_filters: readonly { readonly name: string }[];
  readonly route_config: { virtual_hosts: [{ routes: { typed_per_filter_config?: unknown }[] }] };
}

/** Envoy with the snippet of cambist, on the core of cambist. @param asks false: without the filter that asks cambist */
export function createEnvoy(cambist: Peer, asks: boolean): Peer {
  return {
    name: asks ? 'Envoy, asks cambist' : 'Envoy',
    missing: () =>
      process.platform === 'linux' && process.arch === 'x64' && has('python3')
        ? undefined
        : 'no Envoy for this machine',
    async start(setup) {
      const decisions = await cambist.start(setup);
      const snippet = await runCommand(['snippet', 'envoy', '--config', join(setup.directory, 'cambist.yaml')]);
      const port = await freePort();
      const own = `address: 127.0.0.1, port_value: ${port}`;
      const bootstrap = parse(snippet.stdout.replace('address: 0.0.0.0, port_value: 8080', own)) as Bootstrap;
      const manager = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
      if (!asks) {
        manager.http_filters = manager.http_filters.filter(({ name }) => !name.endsWith('.ext_authz'));
        for (const route of manager.route_config.virtual_hosts[0].routes) delete route.typed_per_filter_config;
      }
      const file = join(setup.directory, 'envoy.yaml');
      writeFileSync(file, stringify(bootstrap));
      const program = await installEnvoy();
      const startedMs = performance.now();
      const args = ['--config-path', file, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'error'];
      const child = startPinned('proxy', program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
      await until(child, () => accepts(port));
      const proxy = running(child, port, performance.now() - startedMs);
      return {
        ...proxy,
        close: async () => {
          await proxy.close();
          await decisions.close();
        },
      };
    },
  };
}
