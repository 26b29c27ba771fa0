import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { anyStore } from '../../external/store/programs.ts';
import { startStore } from '../../external/store/store-process.ts';
import { freePort } from '../../harness/free-port.ts';
import { has, startPinned } from '../processes.ts';
import { programFile } from '../programs.ts';
import { type CambistVariant, createCambist } from './cambist.ts';
import { accepts, type Peer, type RunningProxy, running, type Setup, until } from './peer.ts';

/** Processes of a gateway: as many as this bench has cores. */
const PROCESSES = 2;
const VARIANT = { name: 'cambist', logLevel: 'info' } as const satisfies CambistVariant;

/** Replicas with ports of their own. Callers spread their connections, as the rules of a Service do. */
export const replicas: Peer = {
  name: `${PROCESSES} replicas, as behind a Service`,
  missing: () => undefined,
  start: (setup) => startReplicas(setup, VARIANT),
};

/** The same, with the shared cache. */
export const sharingReplicas: Peer = {
  name: `${replicas.name}, shared cache`,
  missing: () =>
    anyStore() === undefined ? 'no Valkey or Redis (bash test/external/store/install-stores.sh)' : undefined,
  async start(setup) {
    const programs = anyStore();
    if (programs === undefined) throw new Error('no Valkey or Redis');
    const store = await startStore({ programs });
    return closing(await startReplicas(setup, { ...VARIANT, store }), () => store.close());
  },
};

/** Replicas behind a balancer of connections. */
export const balancedReplicas: Peer = {
  name: `${PROCESSES} replicas behind haproxy (TCP)`,
  missing: () => (has('haproxy') ? undefined : 'not installed (apt-get install haproxy)'),
  async start(setup) {
    const started = await startReplicas(setup, VARIANT);
    const port = await freePort();
    const config = join(setup.directory, 'balancer.cfg');
    writeFileSync(config, balancerFor(port, started.ports));
    const child = startPinned('all', 'haproxy', ['-db', '-q', '-f', config], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await until(child, () => accepts(port));
    const balancer = running(child, port, started.readyMs);
    const both = closing(started, () => balancer.close());
    return { ...both, ports: [port], pids: [...started.pids, ...balancer.pids] };
  },
};

/** Workers of Node's cluster: the primary process accepts connections and hands them over. */
export const clustered: Peer = createCambist({
  ...VARIANT,
  name: `${PROCESSES} workers of node:cluster`,
  runner: [programFile('cluster-primary'), String(PROCESSES)],
});

/** Processes that listen on the same port. The kernel spreads connections by their addresses. */
export const samePort: Peer = {
  name: `${PROCESSES} processes, SO_REUSEPORT`,
  missing: (node) => (sharesPorts(node) ? undefined : 'needs Node 22.12 or later: --node FILE'),
  async start(setup) {
    const port = await freePort();
    const nodeFlags = ['--import', programFile('reuse-port')];
    const started = await startReplicas(setup, { ...VARIANT, port, nodeFlags });
    return { ...started, ports: [port] };
  },
};

/** Does this Node know `reusePort`? Earlier ones ignore it. */
function sharesPorts(node: string): boolean {
  const { stdout } = spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' });
  const [major = 0, minor = 0] = stdout.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);
}

async function startReplicas(setup: Setup, variant: CambistVariant): Promise<RunningProxy> {
  const started: RunningProxy[] = [];
  for (let i = 0; i < PROCESSES; i += 1) {
    const directory = join(setup.directory, `replica-${i}`);
    mkdirSync(directory);
    started.push(await createCambist(variant).start({ ...setup, directory }));
  }
  return {
    ports: started.flatMap(({ ports }) => ports),
    pids: started.flatMap(({ pids }) => pids),
    readyMs: Math.max(...started.map(({ readyMs }) => readyMs)),
    close: async () => void (await Promise.all(started.map((one) => one.close()))),
  };
}

function closing(proxy: RunningProxy, close: () => Promise<void>): RunningProxy {
  return {
    ...proxy,
    close: async () => {
      await proxy.close();
      await close();
    },
  };
}

function balancerFor(port: number, backends: readonly number[]): string {
  return `global
  nbthread 1
  maxconn 8192
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend callers
  bind 127.0.0.1:${port}
  default_backend replicas
backend replicas
  balance roundrobin
${backends.map((backend, i) => `  server replica${i} 127.0.0.1:${backend}`).join('\n')}
`;
}
