import type { Contestant, Entered, Ground } from './contestants.ts';
import type { Peer } from './peers/peer.ts';
import { type Sample, sampleClosed, sampleMemory, sampleOpen, sampleStart } from './samples.ts';

export interface Peers {
  readonly cambist: Peer;
  readonly quiet: Peer;
  /** Another build to hold this one against. */
  readonly other: Peer | undefined;
  readonly undici: Peer;
  readonly undiciWhole: Peer;
  readonly exchange: Peer;
  readonly fastify: Peer;
  readonly httpProxy: Peer;
  readonly nginx: Peer;
  readonly haproxy: Peer;
}

/** How long things may take. */
export interface Bounds {
  readonly rounds: number;
  /** Of one contestant in one round. */
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly memoryRequests: number;
}

/** One comparison. */
export interface Case {
  readonly name: string;
  /** One sentence. */
  readonly about: string;
  /** The first is what the others are held against. */
  readonly contestants: readonly Contestant[];
  /** `bounds.rounds` unless told. */
  readonly rounds?: number;
  readonly take: Take;
}

/** How a sample is taken: of a proxy that has run and is warm, or of one that the sample itself starts. */
export type Take =
  | { readonly of: 'warm'; sample(entered: Entered, ground: Ground, bounds: Bounds): Promise<Sample> }
  | { readonly of: 'new'; sample(contestant: Contestant, ground: Ground, bounds: Bounds): Promise<Sample> };

const HELD_STREAMS = 1000;
const MANY_SUBJECTS = 10_000;
const MANY_ROUTES = 1000;

const closed: Take = { of: 'warm', sample: (entered, { far }, { seconds }) => sampleClosed(entered, far, seconds) };
const open: Take = { of: 'warm', sample: (entered, { far }, { seconds }) => sampleOpen(entered, far, seconds) };

export function listCases(peers: Peers): Case[] {
  const { cambist, quiet, other, undici, undiciWhole, exchange, fastify, httpProxy, nginx, haproxy } = peers;
  const plain = (...some: (Peer | undefined)[]): Contestant[] =>
    some.filter((peer) => peer !== undefined).map((peer) => ({ label: peer.name, peer }));
  const withAll = (added: Partial<Contestant>, contestants: Contestant[]): Contestant[] =>
    contestants.map((contestant) => ({ ...contestant, ...added }));
  return [
    {
      name: 'call',
      about: 'a small MCP call with a 1 KB token that was exchanged before',
      contestants: plain(cambist, other, quiet, undici, undiciWhole, fastify, httpProxy, nginx, haproxy),
      take: closed,
    },
    {
      name: 'tls',
      about: 'the same, with TLS to the upstream',
      contestants: withAll({ tls: true }, plain(cambist, other, undici, fastify, nginx, haproxy)),
      take: closed,
    },
    {
      name: 'latency',
      about: 'the same call at 1,000 requests a second, counted from when each was due',
      contestants: plain(cambist, other, undici, fastify, nginx, haproxy),
      take: open,
    },
    {
      name: 'events',
      about: 'server-sent events of many short streams; figures are for one event',
      contestants: withAll({ ask: 'events' }, plain(cambist, other, undici, fastify, nginx)),
      take: closed,
    },
    {
      name: 'streams',
      about: 'calls beside 1,000 open streams, and without them',
      contestants: [cambist, undici].flatMap((peer) => [
        { label: `${peer.name}, no stream open`, peer },
        { label: `${peer.name}, 1,000 open`, peer, held: HELD_STREAMS },
      ]),
      take: closed,
    },
    {
      name: 'subjects',
      about: 'calls of 10,000 callers in turn, each with a cached token of its own, and of one',
      contestants: [
        { label: `${cambist.name}, 1 caller`, peer: cambist },
        { label: `${cambist.name}, 10,000 callers`, peer: cambist, subjects: MANY_SUBJECTS },
        { label: `${undici.name}, 10,000 callers`, peer: undici, subjects: MANY_SUBJECTS },
      ],
      take: closed,
    },
    {
      name: 'routes',
      about:
        'calls to one route, alone and among 1,000, and to those in turn; beside them the same load where all paths are one',
      contestants: [
        { label: `${cambist.name}, 1 route`, peer: cambist },
        { label: `${cambist.name}, 1 of 1,000 routes`, peer: cambist, routes: MANY_ROUTES, called: 1 },
        { label: `${cambist.name}, 1,000 routes`, peer: cambist, routes: MANY_ROUTES },
        { label: `${undici.name}, 1 path`, peer: undici },
        { label: `${undici.name}, 1,000 paths`, peer: undici, routes: MANY_ROUTES },
      ],
      take: closed,
    },
    {
      name: 'uncached',
      about:
        'a new caller each time, so one exchange each; beside it the bare exchange and hop, a cached call, the bare hop',
      contestants: [
        { label: `${cambist.name}, exchange each time`, peer: cambist, subjects: 'fresh' },
        ...withAll({ subjects: 'fresh' }, plain(other, exchange)),
        ...plain(cambist, undici),
      ],
      take: closed,
    },
    {
      name: 'start',
      about: 'a new process: until it serves, its memory then, and its first call',
      contestants: plain(cambist, other, undici, fastify, nginx, haproxy),
      take: { of: 'new', sample: sampleStart },
    },
    {
      name: 'memory',
      about: 'resident memory under load, with 10,000 cached tokens',
      contestants: [{ label: cambist.name, peer: cambist, subjects: MANY_SUBJECTS }],
      rounds: 1,
      take: {
        of: 'new',
        sample: (contestant, ground, { seconds, memoryRequests }) =>
          sampleMemory(contestant, ground, seconds, memoryRequests),
      },
    },
  ];
}
