import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Certificate, type CertificateAuthority, createCertificateAuthority } from '../harness/certificates.ts';
import { createImage, type Image } from './image.ts';
import { type LoadProcess, startLoadProcess } from './load-process.ts';
import type { InterceptedHost, Peer, RunningProxy } from './peers/peer.ts';
import { buildPrograms, startPinned } from './processes.ts';
import type { ResponseKind, Target } from './programs/protocol.ts';

/** A proxy with the settings of a case. */
export interface Contestant {
  readonly label: string;
  readonly peer: Peer;
  readonly responseKind?: ResponseKind;
  /** The default is 1; see `Target`. */
  readonly subjects?: Target['subjects'];
  /** The default is 1. */
  readonly routes?: number;
  /** The number of called routes. The default is all. */
  readonly called?: number;
  readonly tls?: true;
  /** The proxy terminates the callers' TLS and connects by TLS. */
  readonly intercepted?: true;
  /** The proxy's own listener has TLS. `mutual`: callers have certificates. */
  readonly listens?: 'tls' | 'mutual';
  /** Each call has a connection of its own. */
  readonly newConnections?: true;
  /** The tokens of the callers have valid signatures. */
  readonly signed?: true;
  /** Runs as the image runs cambist: flags, variables, memory limit, code cache. */
  readonly asImage?: true;
  /** Streams that stay open during the measurement. The default is 0. */
  readonly openStreams?: number;
}

export interface Environment {
  readonly load: LoadProcess;
  /** The directory for files of proxies. */
  readonly directory: string;
  readonly caFile: string;
  /** The host whose TLS proxies terminate, with a certificate for those that have no authority. */
  readonly intercepted: InterceptedHost;
  /** The certificate of callers. */
  readonly caller: Certificate;
  /** The Node that runs the proxies. */
  readonly node: string;
  readonly image: Image;
}

export interface StartedContestant {
  readonly contestant: Contestant;
  readonly proxy: RunningProxy;
  readonly target: Target;
}

let started = 0;

export async function startContestant(
  contestant: Contestant,
  { load, directory, caFile, node, image, intercepted, caller }: Environment,
): Promise<StartedContestant> {
  const { peer, responseKind = 'json', subjects = 1, routes = 1, called = routes, signed = false } = contestant;
  const tls = contestant.tls ?? contestant.intercepted ?? false;
  started += 1;
  const own = join(directory, String(started));
  mkdirSync(own);
  const origin = tls ? `https://localhost:${load.tlsPort}` : `http://127.0.0.1:${load.upstreamPort}`;
  const proxy = await peer.start({
    origin,
    caFile: tls ? caFile : undefined,
    issuer: load.issuer,
    routes,
    directory: own,
    launch: async (args, options) =>
      contestant.asImage ? image.launch(node, args, options) : startPinned('proxy', node, args, options),
    imageProgram: contestant.asImage && image.program(node),
    intercepted: contestant.intercepted && intercepted,
    listenTls: contestant.listens && { ...intercepted, isMutual: contestant.listens === 'mutual' },
  });
  const { callerCa, decisions } = proxy;
  const paths = Array.from({ length: called }, (_, i) => `${decisions?.prefix ?? ''}/r${i}`);
  const callerTls =
    callerCa === undefined
      ? undefined
      : { host: intercepted.host, ca: callerCa, ...(contestant.listens === 'mutual' && caller) };
  const { newConnections = false } = contestant;
  return {
    contestant,
    proxy,
    target: {
      port: proxy.port,
      paths,
      subjects,
      responseKind,
      tls: callerTls,
      newConnections,
      decisionSecret: decisions?.secret,
      ...(signed && { signedBy: load.issuer }),
    },
  };
}

/**
 * Cases with fewer calls per second are warmed up longer, because V8 compiles by the number of calls. In an uncached case the cache must
 * also be full, so that entries are evicted.
 */
const SLOW_FACTOR = 4;

/** Opens the streams, fills the cache, and lets V8 compile the code. */
export async function warm(
  { contestant, target }: StartedContestant,
  load: LoadProcess,
  seconds: number,
): Promise<void> {
  if (target.subjects !== 'fresh') await load.each(target);
  const isSlow = target.subjects === 'fresh' || target.tls !== undefined;
  await load.closed(target, isSlow ? SLOW_FACTOR * seconds : seconds);
  if (contestant.openStreams !== undefined)
    await load.hold({ ...target, responseKind: 'hold' }, contestant.openStreams);
}

/** Starts the load process and writes the files that proxies need. Removes both afterwards. */
export async function withEnvironment<T>(node: string, use: (environment: Environment) => Promise<T>): Promise<T> {
  buildPrograms();
  const directory = mkdtempSync(join(tmpdir(), 'cambist-bench-'));
  const authority = createCertificateAuthority();
  const load = await startLoadProcess(authority.issueServer());
  const caFile = join(directory, 'ca.pem');
  writeFileSync(caFile, authority.cert);
  const intercepted = writeCertificate(authority, directory, caFile);
  const image = createImage(directory);
  try {
    return await use({ load, directory, caFile, node, image, intercepted, caller: authority.issueClient() });
  } finally {
    load.close();
    await image.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The certificate of proxies that terminate TLS without an authority of their own. */
function writeCertificate(authority: CertificateAuthority, directory: string, caFile: string): InterceptedHost {
  const host = 'mcp.example.com';
  const { cert, key } = authority.issueServer({ hosts: [host] });
  const [certFile, keyFile] = [join(directory, 'callers.crt'), join(directory, 'callers.key')];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  return { host, certFile, keyFile, caFile };
}
