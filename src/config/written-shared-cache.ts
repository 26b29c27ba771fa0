import type { SharedCache, StoreNode, StoreServer } from './optional-sections.ts';
import { address, duration, type ShowSource, source, writtenTls } from './written-values.ts';

export function writtenSharedCache(shared: SharedCache, show: ShowSource) {
  const { server, username, password, tls, allowInsecureTcp, keys, prefix, timeoutMs } = shared;
  return {
    ...writtenServer(server, tls !== undefined, show),
    username,
    password: source(password, show),
    tls: tls && writtenTls(tls, show),
    allow_insecure_tcp: allowInsecureTcp,
    key: keys.map((key) => source(key, show)),
    prefix,
    timeout: duration(timeoutMs),
  };
}

function writtenServer(server: StoreServer, isTls: boolean, show: ShowSource) {
  switch (server.kind) {
    case 'standalone':
      return { url: `${isTls ? 'rediss' : 'redis'}://${hostPort(server.node)}` };
    case 'cluster':
      return { cluster: server.nodes.map(hostPort) };
    case 'sentinel': {
      const { name, nodes, username, password } = server;
      return { sentinel: { name, hosts: nodes.map(hostPort), username, password: source(password, show) } };
    }
  }
}

function hostPort(node: StoreNode): string {
  return address({ kind: 'tcp', ...node });
}
