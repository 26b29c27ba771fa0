import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { CambistError } from '../errors.ts';
import type { ActiveConfig } from './active-config.ts';

interface CountedRequest {
  readonly active: ActiveConfig;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
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
    const { agents, limits } = request.active.config;
    add(this.#inFlight, agent, 1);
    request.onClosed(() => add(this.#inFlight, agent, -1));
    this.#own(request.incoming.socket, agent);
    if ((agents?.known.length ?? 0) < 2) return;
    assertShare(this.#inFlight.get(agent), limits.maxInFlight, `agent "${agent}" has 80 % of limits.max_in_flight`);
    try {
      assertShare(
        this.#connections.get(agent),
        limits.maxConnections,
        `agent "${agent}" has 80 % of limits.max_connections`,
      );
    } catch (error) {
      request.response.once('finish', () => request.incoming.socket.destroySoon());
      throw error;
    }
  }

  /** The share of an agent in the limits. */
  of(agent: string): { readonly in_flight: number; readonly connections: number } {
    return { in_flight: this.#inFlight.get(agent) ?? 0, connections: this.#connections.get(agent) ?? 0 };
  }

  #own(socket: Socket, agent: string): void {
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
  }
}

function add(counts: Map<string, number>, agent: string, change: 1 | -1): void {
  const count = (counts.get(agent) ?? 0) + change;
  if (count === 0) counts.delete(agent);
  else counts.set(agent, count);
}

function assertShare(held = 0, max: number, what: string): void {
  if (held <= Math.max(1, Math.floor(MAX_SHARE * max))) return;
  throw new CambistError('ERR_OVERLOADED', `${what}: raise the limit, or find out why the agent needs so much`);
}
