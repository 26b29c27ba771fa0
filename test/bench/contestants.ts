import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { FarSide } from './far-side.ts';
import type { Peer, RunningProxy } from './peers/peer.ts';
import type { Ask, Target } from './programs/protocol.ts';

/** A proxy in the position that a case wants it in. */
export interface Contestant {
  /** How the report calls it. */
  readonly label: string;
  readonly peer: Peer;
  readonly ask?: Ask;
  /** 1 unless told; see `Target`. */
  readonly subjects?: Target['subjects'];
  /** 1 unless told. */
  readonly routes?: number;
  /** How many of its routes are called; all unless told. */
  readonly called?: number;
  readonly tls?: true;
  /** Streams that stay open meanwhile; none unless told. */
  readonly held?: number;
}

/** Where everything is. */
export interface Ground {
  readonly far: FarSide;
  /** For files of proxies. */
  readonly directory: string;
  readonly caFile: string;
  /** The program that runs those proxies that are of Node. */
  readonly node: string;
}

export interface Entered {
  readonly contestant: Contestant;
  readonly proxy: RunningProxy;
  readonly target: Target;
}

let entered = 0;

/** Starts a contestant. */
export async function enter(contestant: Contestant, { far, directory, caFile, node }: Ground): Promise<Entered> {
  const { peer, ask = 'answer', subjects = 1, routes = 1, called = routes, tls = false } = contestant;
  entered += 1;
  const own = join(directory, String(entered));
  mkdirSync(own);
  const proxy = await peer.start({
    origin: tls ? `https://localhost:${far.tlsPort}` : `http://127.0.0.1:${far.upstreamPort}`,
    caFile: tls ? caFile : undefined,
    issuer: far.issuer,
    routes,
    directory: own,
    node,
  });
  const paths = Array.from({ length: called }, (_, i) => `/r${i}`);
  return { contestant, proxy, target: { port: proxy.port, paths, subjects, ask } };
}

/** Longer to warm up with an exchange each time: there are fewer calls in a second, and until the cache is full none gives way. */
const FRESH_TIMES = 4;

/** Opens its streams, fills its cache, and lets its code be compiled. */
export async function warm({ contestant, target }: Entered, far: FarSide, seconds: number): Promise<void> {
  if (target.subjects !== 'fresh') await far.each(target);
  await far.closed(target, target.subjects === 'fresh' ? FRESH_TIMES * seconds : seconds);
  if (contestant.held !== undefined) await far.hold({ ...target, ask: 'hold' }, contestant.held);
}
