import type { Socket } from 'node:net';
import { Agent, buildConnector } from 'undici';

export interface Http1AgentOptions extends Agent.Options {
  readonly connect: buildConnector.BuildOptions;
}

/** What undici keeps with each connection, as far as it matters here. */
interface Parser {
  /** The answer under way is held back, as its caller takes no more for now. */
  paused: boolean;
  /** Does the connection outlive the answer? Where it does not, its end may be that of the answer. */
  shouldKeepAlive: boolean;
  /** Goes on, up to where the answer is held back again. */
  resume(): void;
  readonly llhttp: { llhttp_resume(ptr: unknown): void };
  readonly ptr: unknown;
}

/**
 * undici's `Agent`, less a fault of its line 7: a connection that ends while its answer is held back would end the process, by an
 * assertion that nobody can catch. Line 8 is mended, and wants a later Node than we do. What is mended here is undici's own
 * affair and may change with any release, so `package.json` names one, and `http1-agent.test.ts` tries the next.
 * @see https://github.com/nodejs/undici/issues/5360
 */
export function createHttp1Agent(options: Http1AgentOptions): Agent {
  const connector = buildConnector(options.connect);
  return new Agent({
    ...options,
    connect: (peer, connected) =>
      connector(peer, (...result) => {
        const [error, socket] = result;
        if (error === null) mendEnds(socket);
        connected(...result);
      }),
  });
}

/** Listens before undici does, so that it finds its parser as it expects it. */
function mendEnds(socket: Socket): void {
  socket.once('end', () => letEnd(parserOf(socket)));
  // A connection that broke off is the end of no answer, which undici would take it for where there is no length.
  const breakOff = (): void => {
    const parser = parserOf(socket);
    if (parser !== undefined) parser.shouldKeepAlive = true;
  };
  socket.once('error', breakOff);
  socket.once('close', breakOff);
}

/** All that came was read, so that nothing is held back but the end. */
function letEnd(parser: Parser | undefined): void {
  if (parser?.paused !== true) return;
  parser.resume();
  // Where the connection's end is that of the answer, it is undici that says so, right after this.
  if (!parser.paused) return;
  parser.llhttp.llhttp_resume(parser.ptr);
  parser.paused = false;
}

/** Undefined where there is none any more. */
function parserOf(socket: Socket): Parser | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser');
  const held = symbol === undefined ? undefined : (socket as unknown as Record<symbol, Parser | null>)[symbol];
  return held ?? undefined;
}
