import type { Contestant, Environment, StartedContestant } from './contestants.ts';
import { createCambist } from './peers/cambist.ts';
import { haproxy } from './peers/haproxy.ts';
import { nginx } from './peers/nginx.ts';
import { bareFastify, bareUndici, type Peer } from './peers/peer.ts';
import { type Sample, sampleClosed, sampleMemory, sampleOpen, sampleStart } from './samples.ts';

interface Build {
  /** `main.js`. The default is that in `dist`. */
  readonly program?: string;
  readonly nodeFlags?: readonly string[];
}

/** All contestants, with the variants of cambist from one build. */
export function createPeers(build: Build = {}) {
  const cambist = { name: 'cambist', logLevel: 'info', ...build } as const;
  return {
    cambist: createCambist(cambist),
    quiet: createCambist({ ...cambist, name: 'cambist, log: warn', logLevel: 'warn' }),
    /** The way of callers to the agent. */
    inbound: createCambist({ ...cambist, name: 'cambist, inbound', inbound: true }),
    decisions: createCambist({ ...cambist, name: 'cambist, decisions', decisions: true }),
    shared: createCambist({ ...cambist, name: 'cambist, shared cache', shared: true }),
    /** With room for a single token in memory, so that the second level is asked. */
    secondLevel: createCambist({
      ...cambist,
      name: 'cambist, shared cache, second level',
      shared: true,
      maxEntries: 1,
    }),
    undici: bareUndici,
    fastify: bareFastify,
    nginx,
    haproxy,
  };
}

export interface Bounds {
  readonly rounds: number;
  /** The time of one contestant in one round. */
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly memoryRequests: number;
}

export interface Case {
  readonly name: string;
  readonly about: string;
  /** The others are compared with the first. */
  readonly contestants: readonly Contestant[];
  /** The default is `bounds.rounds`. */
  readonly rounds?: number;
  readonly take: Take;
}

/** Samples a proxy that is running and warm, or starts a new proxy for each sample. */
export type Take =
  | {
      readonly of: 'warm';
      sample(started: StartedContestant, environment: Environment, bounds: Bounds): Promise<Sample>;
    }
  | { readonly of: 'new'; sample(contestant: Contestant, environment: Environment, bounds: Bounds): Promise<Sample> };

const OPEN_STREAMS = 1000;
const MANY_SUBJECTS = 10_000;
const MANY_ROUTES = 1000;

const closed: Take = { of: 'warm', sample: (started, { load }, { seconds }) => sampleClosed(started, load, seconds) };
const memory: Take = {
  of: 'new',
  sample: (contestant, environment, { seconds, memoryRequests }) =>
    sampleMemory(contestant, environment, seconds, memoryRequests),
};
const open: Take = { of: 'warm', sample: (started, { load }, { seconds }) => sampleOpen(started, load, seconds) };

/** TLS on the listener, which bare undici has from `node:https`. */
function listenCases(contestants: (added: Partial<Contestant>) => Contestant[]): Case[] {
  return (['tls', 'mutual'] as const).flatMap((listens): Case[] => {
    const about = `the same, with ${listens === 'tls' ? 'TLS' : 'TLS and certificates of callers'} on the listener`;
    const name = `listen-${listens}`;
    const eachTime = contestants({ listens, newConnections: true });
    return [
      { name, about, contestants: contestants({ listens }), take: closed },
      { name: `${name}-each`, about: `${about}, and a handshake for each call`, contestants: eachTime, take: closed },
    ];
  });
}

export function listCases(peers: ReturnType<typeof createPeers>): Case[] {
  const { cambist, quiet, inbound, decisions, shared, secondLevel, undici, fastify, nginx, haproxy } = peers;
  const plain = (...some: Peer[]): Contestant[] => some.map((peer) => ({ label: peer.name, peer }));
  const withAll = (added: Partial<Contestant>, contestants: Contestant[]): Contestant[] =>
    contestants.map((contestant) => ({ ...contestant, ...added }));
  const asImage = [cambist, undici].map(
    (peer): Contestant => ({ label: `${peer.name}, as in the image`, peer, asImage: true }),
  );
  return [
    {
      name: 'call',
      about: 'a small MCP call with a token of 1 KB, whose issued token is cached',
      contestants: plain(cambist, quiet, undici, fastify, nginx, haproxy),
      take: closed,
    },
    {
      name: 'tls',
      about: 'the same, with TLS to the upstream',
      contestants: withAll({ tls: true }, plain(cambist, undici, fastify, nginx, haproxy)),
      take: closed,
    },
    {
      name: 'intercepted',
      about:
        "the same, with the callers' TLS terminated as well: on open connections, and with a handshake for each call",
      contestants: [
        ...withAll({ intercepted: true }, plain(cambist, nginx)),
        ...[cambist, nginx].map((peer): Contestant => {
          return { label: `${peer.name}, handshake each time`, peer, intercepted: true, newConnections: true };
        }),
        ...withAll({ tls: true }, [{ label: `${cambist.name}, callers without TLS`, peer: cambist }]),
      ],
      take: closed,
    },
    ...listenCases((added) => withAll(added, plain(cambist, undici, nginx))),
    {
      name: 'latency',
      about: 'the same call at 1,000 requests a second; latency counts from the scheduled time',
      contestants: plain(cambist, undici, fastify, nginx, haproxy),
      take: open,
    },
    {
      name: 'events',
      about: 'server-sent events of many short streams; the figures are for one event',
      contestants: withAll({ responseKind: 'events' }, plain(cambist, undici, fastify, nginx)),
      take: closed,
    },
    {
      name: 'streams',
      about: 'calls with and without 1,000 open streams',
      contestants: [cambist, undici].flatMap((peer) => [
        { label: `${peer.name}, no stream open`, peer },
        { label: `${peer.name}, 1,000 open`, peer, openStreams: OPEN_STREAMS },
      ]),
      take: closed,
    },
    {
      name: 'subjects',
      about: 'calls of 10,000 callers in turn, each with its own cached token, and of one caller',
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
        'calls to the only route, to one of 1,000 routes, and to 1,000 routes in turn; bare undici gets the same paths',
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
      about: 'a new caller for each call, so each call has an exchange; for comparison a cached call and bare undici',
      contestants: [
        { label: `${cambist.name}, exchange each time`, peer: cambist, subjects: 'fresh' },
        ...plain(cambist, undici),
      ],
      take: closed,
    },
    {
      name: 'shared',
      about:
        'a cached call with and without the shared cache; one whose token only the store has; one that needs an exchange',
      contestants: [
        { label: `${shared.name}, found in memory`, peer: shared },
        ...plain(cambist),
        { label: `${shared.name}, found in the store`, peer: secondLevel, subjects: MANY_SUBJECTS },
        { label: `${shared.name}, exchange each time`, peer: shared, subjects: 'fresh' },
        { label: `${cambist.name}, exchange each time`, peer: cambist, subjects: 'fresh' },
      ],
      take: closed,
    },
    {
      name: 'inbound',
      about: 'a call from a caller to the agent, with a known token of 1 KB that the agent gets a handle for',
      contestants: withAll({ signed: true }, plain(inbound, undici)),
      take: closed,
    },
    {
      name: 'decision',
      about: 'a cached decision by HTTP, beside a cached call',
      contestants: plain(decisions, cambist),
      take: closed,
    },
    {
      name: 'handles',
      about: 'resident memory under load, with 10,000 handles',
      contestants: [{ label: inbound.name, peer: inbound, subjects: MANY_SUBJECTS, signed: true }],
      rounds: 1,
      take: memory,
    },
    {
      name: 'start',
      about: 'a new process: time until ready, idle memory, first call',
      // The goals of a start compare the image with bare undici.
      contestants: [...asImage, ...plain(cambist, undici, fastify, nginx, haproxy)],
      take: { of: 'new', sample: sampleStart },
    },
    {
      name: 'memory',
      about: 'resident memory under load, with 10,000 cached tokens',
      contestants: [
        { label: cambist.name, peer: cambist, subjects: MANY_SUBJECTS },
        ...withAll({ subjects: MANY_SUBJECTS }, asImage),
      ],
      rounds: 1,
      take: memory,
    },
  ];
}
