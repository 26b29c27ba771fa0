import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { awaitingBody } from '../listeners/idle-connection.ts';
import { AgentShares } from './agent-shares.ts';
import { type BodyWait, createBodyWait, endUpload } from './body-wait.ts';
import { ProxyRequest, type Tracker, type TrackerOptions } from './proxy-request.ts';
import type { StallWatch } from './stall-watch.ts';
import { Tunnels } from './tunnel.ts';
import { type UpstreamShare, UpstreamShares } from './upstream-share.ts';

export interface RequestTrackerOptions extends TrackerOptions {
  readonly watch: StallWatch;
}

/** A client that reuses its connection at all sends its next request within this time, or finds it closed. */
const NEXT_REQUEST_MS = 1000;

/** All requests in flight. */
export class RequestTracker implements Tracker {
  readonly options: RequestTrackerOptions;
  readonly shares = new UpstreamShares();
  readonly agentShares = new AgentShares();
  readonly tunnels = new Tunnels();
  inFlight = 0;
  openStreams = 0;
  isLeaving = false;
  isDraining = false;
  /** Each closes the idle connections of one server. */
  readonly idleClosers: (() => void)[] = [];
  isClosing = false;
  /** The oldest first. */
  readonly #waiting = new Set<BodyWait>();
  readonly uploads = new Set<ProxyRequest>();
  /** Requests that gave their place to another, and have not ended yet. */
  readonly #displaced = new Set<ProxyRequest>();
  /** Their last response began before the shutdown, and did not say that the connection closes. */
  readonly #unaware = new Set<Socket>();
  #onDrained: (() => void) | undefined;
  #drained: Promise<void> | undefined;

  constructor(options: RequestTrackerOptions) {
    this.options = options;
  }

  begin(incoming: IncomingMessage, response: ServerResponse, url: string): ProxyRequest {
    const request = new ProxyRequest(this, incoming, response, url);
    this.inFlight += 1;
    response.once('close', () => request.end());
    if (response.socket === null) addPipelined(request, this.options);
    return request;
  }

  assertCapacity(maxInFlight: number, connection?: Socket): void {
    this.options.audit?.assertWritable();
    if (this.isDraining && (connection === undefined || !this.#unaware.has(connection))) {
      throw new CambistError('ERR_SHUTTING_DOWN', 'the proxy is shutting down');
    }
    if (this.inFlight - this.#displaced.size > maxInFlight && !this.#displace()) {
      throw new CambistError('ERR_OVERLOADED', 'limits.max_in_flight is reached: raise it, or run more proxies');
    }
  }

  /** The request gives way to a new one while it waits for its body, and is refused if too little of the body arrives. */
  waitForBody<T>(request: ProxyRequest, reading: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const wait = createBodyWait(request, reject);
      this.#waiting.add(wait);
      this.options.watch.add(wait);
      // Behind another response, the connection is in use.
      if (request.response.socket !== null) awaitingBody.add(wait.socket);
      reading.then(resolve, reject).finally(() => this.#stopWaiting(wait));
    });
  }

  #stopWaiting(wait: BodyWait): void {
    this.#waiting.delete(wait);
    this.options.watch.remove(wait);
    awaitingBody.delete(wait.socket);
  }

  /** Callers that send incomplete requests must not keep others out. */
  #displace(): boolean {
    const [oldest] = this.#waiting;
    if (oldest === undefined) return this.displaceUpload();
    this.#stopWaiting(oldest);
    this.#displaced.add(oldest.request);
    oldest.reject(incomplete('limits.max_in_flight'));
    return true;
  }

  /** @param share of one upstream. By default, an upload to any gives way. */
  displaceUpload(share?: UpstreamShare): boolean {
    for (const upload of this.uploads) {
      if (share !== undefined && upload.share !== share) continue;
      this.uploads.delete(upload);
      if (upload.incoming.complete || upload.response.headersSent) continue;
      this.#displaced.add(upload);
      upload.leaveShare();
      endUpload(upload, incomplete(`limits.max_in_flight${share === undefined ? '' : '_per_upstream'}`));
      return true;
    }
    return false;
  }

  streamOpened(route: Route): () => void {
    const { observer } = this.options;
    this.openStreams += 1;
    observer.streamOpened(route);
    return () => {
      this.openStreams -= 1;
      observer.streamClosed(route);
    };
  }

  /** @param request undefined for a tunnel of another listener */
  ended(request?: ProxyRequest): void {
    this.inFlight -= 1;
    if (request !== undefined) {
      this.#displaced.delete(request);
      this.uploads.delete(request);
    }
    if (this.isLeaving && request !== undefined) this.#expectNext(request.incoming.socket);
    this.#settle();
  }

  /** A client that is about to send its next request on this connection must not lose it. */
  #expectNext(connection: Socket): void {
    if (connection.destroyed || connection.writableEnded || this.#unaware.has(connection)) return;
    this.#unaware.add(connection);
    connection.once('close', () => {
      this.#unaware.delete(connection);
      this.#settle();
    });
    if (this.isDraining) this.#closeIdle();
  }

  #closeIdle(): void {
    const close = (): void => {
      for (const closer of this.idleClosers) closer();
    };
    if (this.#unaware.size === 0) close();
    else setTimeout(close, NEXT_REQUEST_MS).unref();
  }

  #settle(): void {
    if (this.inFlight === 0 && this.#unaware.size === 0) this.#onDrained?.();
  }

  /**
   * Accepts no new request from now on, but for the next one of a client that does not know yet. Closes idle connections. Settles when
   * no request is in flight.
   */
  drain(): Promise<void> {
    this.isLeaving = true;
    this.isDraining = true;
    this.#closeIdle();
    this.#drained ??= new Promise((resolve) => {
      this.#onDrained = resolve;
      this.#settle();
    });
    return this.#drained;
  }
}

/** @param limit that is reached */
function incomplete(limit: string): CambistError {
  const message = `${limit} is reached, and a new request took the place of this one, which was incomplete`;
  return new CambistError('ERR_OVERLOADED', `${message}: raise the limit, or run more proxies`);
}

/** Requests of one connection that may wait for their turn. Common clients send one request at a time. */
const MAX_WAITING = 16;

/** The number of requests that wait, by connection. */
const waiting = new WeakMap<Socket, number>();

/** Takes a request whose response waits for its turn on the connection. */
function addPipelined(request: ProxyRequest, { watch, logger }: RequestTrackerOptions): void {
  const { socket } = request.incoming;
  const count = (waiting.get(socket) ?? 0) + 1;
  waiting.set(socket, count);
  socket.setMaxListeners(0);
  // Node closes no response that still waits for its turn when the connection closes.
  const end = (): void => request.end();
  socket.once('close', end);
  request.onClosed(() => {
    // Otherwise the connection would keep each of its requests in memory.
    socket.off('close', end);
    waiting.set(socket, (waiting.get(socket) ?? 0) - 1);
  });
  if (count > MAX_WAITING && !socket.destroyed) {
    logger.warn({}, `more than ${MAX_WAITING} pipelined requests; closing the connection`);
    socket.destroy();
    return;
  }
  // Node pauses the connection while long responses wait for their turn.
  watch.add({
    socket,
    isPaused: () => socket.isPaused(),
    isOver: () => request.isClosed,
    stallMs: () => request.stallMs(),
    onStall: () => request.abort('stall'),
  });
}
