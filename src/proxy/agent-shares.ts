import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Config } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { ActiveConfig } from './active-config.ts';
import type { Arrival } from './arrival.ts';

interface CountedRequest {
  readonly active: ActiveConfig;
  readonly incoming: IncomingMessage;
  readonly arrival: Arrival | undefined;
  closeAfterResponse(): void;
  onClosed(listener: () => void): void;
}

/** The largest part of a limit that one agent may hold where several are known. */
const MAX_SHARE = 0.8;

/** A connection with requests of several agents, as from a proxy in front. It counts to none. */
const SHARED = Symbol('shared');

/** The requests in flight and the connections of each agent, so that one of them leaves room for the others. */
export class AgentShares {
  readonly #inFlight = new Map<string, number>();
  readonly #connections = new Map<string, number>();
  readonly #owners = new WeakMap<Socket, string | typeof SHARED>();

  /** Counts a request, and its connection, to its agent. @throws {CambistError} ERR_OVERLOADED */
  join(request: CountedRequest, agent: string): void {
    const { incoming, arrival, active } = request;
    add(this.#inFlight, agent, 1);
    request.onClosed(() => add(this.#inFlight, agent, -1));
    // Decisions come on connections of a data plane.
    if (arrival?.wayIn !== 'decision') {
      try {
        this.connect((arrival?.connect ?? incoming).socket, agent, active.config);
      } catch (error) {
        request.closeAfterResponse();
        throw error;
      }
    }
    assertShare(this.#inFlight, agent, active.config, 'maxInFlight');
  }

  /** Counts a connection to its agent. @throws {CambistError} ERR_OVERLOADED where the connection is new, and one too many */
  connect(socket: Socket, agent: string, config: Config): void {
    const owner = this.#owners.get(socket);
    if (owner === agent || owner === SHARED) return;
    this.#owners.set(socket, owner === undefined ? agent : SHARED);
    if (owner !== undefined) {
      add(this.#connections, owner, -1);
      return;
    }
    add(this.#connections, agent, 1);
    socket.once('close', () => {
      if (this.#owners.get(socket) === agent) add(this.#connections, agent, -1);
    });
    assertShare(this.#connections, agent, config, 'maxConnections');
  }

  /** The share of an agent in the limits. */
  of(agent: string): { readonly in_flight: number; readonly connections: number } {
    return { in_flight: this.#inFlight.get(agent) ?? 0, connections: this.#connections.get(agent) ?? 0 };
  }
}

function add(counts: Map<string, number>, agent: string, change: 1 | -1): void {
  const count = (counts.get(agent) ?? 0) + change;
  if (count === 0) counts.delete(agent);
  else counts.set(agent, count);
}

const LIMITS = { maxInFlight: 'limits.max_in_flight', maxConnections: 'limits.max_connections' } as const;

function assertShare(
  counts: ReadonlyMap<string, number>,
  agent: string,
  { agents, limits }: Config,
  limit: keyof typeof LIMITS,
): void {
  const isOnly = agents === undefined || agents.known.length < 2;
  if (isOnly || (counts.get(agent) ?? 0) <= Math.max(1, Math.floor(MAX_SHARE * limits[limit]))) return;
  const message = `agent "${agent}" has 80 % of ${LIMITS[limit]}`;
  throw new CambistError('ERR_OVERLOADED', `${message}: raise the limit, or find out why the agent needs so much`);
}
