import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { anyStore } from '../../external/store/programs.ts';
import { type StoreProcess, startStore } from '../../external/store/store-process.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { BUILT_PROGRAM } from '../../harness/run-command.ts';
import { isReady, type Peer, running, type Setup, until } from './peer.ts';

interface CambistVariant {
  readonly name: string;
  readonly logLevel: 'info' | 'warn';
  /** `main.js` of a build. The default is that in `dist`. */
  readonly program?: string;
  readonly nodeFlags?: readonly string[];
  readonly inbound?: true;
  /** The load asks for decisions, as a data plane does. */
  readonly decisions?: true;
  /** With the shared cache, on a store of its own. */
  readonly shared?: true;
  /** `cache.max_entries`. */
  readonly maxEntries?: number;
}

/** cambist as shipped. The bench reads its log through a pipe, like a container runtime. */
export function createCambist(variant: CambistVariant): Peer {
  const { name, nodeFlags = [], inbound, decisions, shared } = variant;
  return {
    name,
    missing: () =>
      shared && anyStore() === undefined
        ? 'no Valkey or Redis (bash test/external/store/install-stores.sh)'
        : undefined,
    async start(setup) {
      const store = shared && (await startOwnStore());
      const config = join(setup.directory, 'cambist.yaml');
      const [port, adminPort, tlsPort] = [await freePort(), await freePort(), await freePort()];
      const trustDir = join(setup.directory, 'trust');
      const intercept = { trust_dir: trustDir, listen: [`127.0.0.1:${tlsPort}`] };
      const more = setup.intercepted === undefined ? {} : { intercept };
      const listen = inbound === true || decisions !== undefined ? await freePort() : port;
      const cache = cacheFor(setup, variant, store);
      const listeners = { listen: listenFor(setup, `127.0.0.1:${listen}`), admin: `127.0.0.1:${adminPort}` };
      const callers = inbound && { inbound: inboundFor(setup, port) };
      const keys = {
        ...configFor(setup, variant.logLevel),
        cache,
        ...listeners,
        ...more,
        ...callers,
        ...(decisions && { decisions: decisionsFor(setup, port) }),
      };
      writeFileSync(config, stringify(keys));
      writeFileSync(join(setup.directory, 'client-secret'), 'a secret for the bench');
      writeFileSync(join(setup.directory, 'decision-secret'), DECISION_SECRET);
      writeFileSync(join(setup.directory, 'key'), 'a key of the bench, which is long enough for a key');
      const program = variant.program ?? setup.imageProgram ?? BUILT_PROGRAM;
      const startedMs = performance.now();
      const child = await setup.launch([...nodeFlags, program, 'run', '--config', config], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      child.stdout?.resume();
      await until(child, () => isReady(adminPort));
      const readyMs = performance.now() - startedMs;
      const isIntercepted = setup.intercepted !== undefined;
      const proxy = running(child, isIntercepted ? tlsPort : port, readyMs);
      return {
        ...proxy,
        ...(decisions && { decisions: { prefix: '/ext-authz/r0', secret: DECISION_SECRET } }),
        ...(setup.listenTls && { callerCa: readFileSync(setup.listenTls.caFile, 'utf8') }),
        ...(isIntercepted && { callerCa: readFileSync(join(trustDir, 'ca.pem'), 'utf8') }),
        close: async () => {
          await proxy.close();
          await store?.close();
        },
      };
    },
  };
}

function listenFor({ listenTls }: Setup, address: string): object | string {
  if (listenTls === undefined) return address;
  const { certFile, keyFile, caFile, isMutual } = listenTls;
  const tls = { certificate: { file: certFile }, private_key: { file: keyFile } };
  return { address, tls: { ...tls, ...(isMutual && { client_ca: { file: caFile } }) } };
}

async function startOwnStore(): Promise<StoreProcess> {
  const programs = anyStore();
  if (programs === undefined) throw new Error('no Valkey or Redis');
  return startStore(keepParts(), { programs });
}

/** `max_age` is longer than a run, so that no cached token expires. */
function cacheFor({ directory }: Setup, { maxEntries }: CambistVariant, store: StoreProcess | undefined): object {
  return {
    max_age: '2h',
    ...(maxEntries !== undefined && { max_entries: maxEntries }),
    ...(store && {
      shared: { url: `redis://127.0.0.1:${store.port}`, key: { file: join(directory, 'key') }, timeout: '5s' },
    }),
  };
}

function configFor({ origin, caFile, issuer, routes, directory, intercepted }: Setup, level: string): object {
  return {
    version: 1,
    log: { level },
    authorization_servers: {
      bench: {
        issuer,
        client_id: 'cambist',
        client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, 'client-secret') } },
      },
    },
    routes: Array.from({ length: routes }, (_, i) => ({
      name: `r${i}`,
      match: { path: `/r${i}`, ...(intercepted && { host: intercepted.host }) },
      upstream: `${origin}/mcp/${i}`,
      ...(caFile === undefined ? {} : { tls: { ca: { file: caFile } } }),
    })),
  };
}

const DECISION_SECRET = 'a secret of the data plane';

function decisionsFor({ directory }: Setup, port: number): object {
  return { http: { listen: `127.0.0.1:${port}`, secret: { file: join(directory, 'decision-secret') } } };
}

function inboundFor({ origin, issuer }: Setup, port: number): object {
  return { listen: `127.0.0.1:${port}`, agent: origin, verify: { issuer, audience: 'cambist' } };
}
