import type { Listen } from './addresses.ts';
import type { AuthorizationServer } from './authorization-server.ts';
import type { LogLevel } from './log-levels.ts';
import type { Audit, Inbound, Intercept, SharedCache, Signals } from './optional-sections.ts';
import type { Route } from './route.ts';
import type { ConfigFile, Loose } from './schema.ts';

/**
 * The config as the rest of cambist uses it: defaults merged, durations in milliseconds, sizes in bytes, URLs split,
 * references resolved. `load.ts` makes it from a file. It never changes afterwards.
 */
export interface Config {
  /** As it was written. A URL, a parameter or a name in it may be a secret. */
  readonly file: { readonly content: Loose<ConfigFile>; readonly folder: string };
  readonly listen: Listen;
  readonly admin: Listen;
  /** Permissions of the Unix sockets of `listen` and `admin`. */
  readonly socketMode: number;
  /** Public host names by which the admin listener is reached, in lower case. */
  readonly adminHosts: readonly string[];
  readonly log: {
    readonly level: LogLevel;
    /** From 0 to 1: the share of successful requests that are logged. */
    readonly sample: number;
  };
  /** Undefined: off. */
  readonly audit: Audit | undefined;
  readonly tracing: {
    /** Spans have the attributes of MCP messages. */
    readonly mcp: boolean;
  };
  /** Lower-case name of a header whose host replaces the request's own host. */
  readonly hostHeader: string | undefined;
  readonly session: { readonly header: string };
  readonly cache: {
    readonly maxEntries: number;
    readonly maxAgeMs: number;
    /** Undefined: each replica has its own cache alone. */
    readonly shared: SharedCache | undefined;
  };
  readonly authorizationServers: readonly AuthorizationServer[];
  readonly routes: readonly Route[];
  readonly limits: {
    readonly maxInFlight: number;
    /** Of requests and tunnels to one origin. */
    readonly maxInFlightPerUpstream: number;
    readonly maxConnections: number;
    /** The process's limit of open files, where `maxConnections` is lowered to it. */
    readonly cappedByFiles?: number | undefined;
    readonly maxHeaderBytes: number;
    readonly shutdownGraceMs: number;
  };
  /** Authorities that CONNECT may tunnel to unread: `host:port`, lower-case. */
  readonly forwardProxy: { readonly connect: readonly string[] };
  /** Undefined: callers connect to the agent itself. */
  readonly inbound: Inbound | undefined;
  /** Undefined: nothing is revoked before it expires, but by introspection. */
  readonly signals: Signals | undefined;
  /** Undefined: TLS from agents is refused. */
  readonly intercept: Intercept | undefined;
}
