import { readFileSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';
import type { Config } from '../config/config.ts';
import { decisionListeners } from '../config/decisions.ts';
import { errorCode } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import {
  type ConnectionLimit,
  type ConnectionLimitOptions,
  displaceConnections,
  limitConnections,
} from './limit-connections.ts';

/** Shares of all open files. The others are for upstreams (as many as for callers), servers and files. */
const SHARE_OF_CALLERS = 3 / 8;
const SHARE_OF_OTHERS = 1 / 8;

const RAISE = 'raise the limit of open files, as with ulimit -n';

/** Returns how many files this process may open, connections included: Infinity on systems without `/proc`. Node has raised it. */
export function openFiles(): number {
  try {
    const limit = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return Number(limit ?? Infinity);
  } catch {
    return Infinity;
  }
}

/** Bounds the connections of a listener beside those of callers. */
export function withinOpenFiles(max: number, files = openFiles()): number {
  return Math.max(1, Math.min(max, Math.floor(files * SHARE_OF_OTHERS)));
}

/**
 * Lowers `limits.max_connections` to what the process can open, so that idle connections give way before it can open no more. Says so
 * where the file sets the key: the default is above the usual limit of open files.
 */
export function fitConnections(config: Config, logger: Pick<Logger, 'warn'>, files = openFiles()): Config {
  const { limits, inbound, decisions, intercept } = config;
  const listeners =
    1 +
    (inbound === undefined ? 0 : 1) +
    Object.keys(decisionListeners(decisions)).length +
    (intercept?.listen.length ?? 0);
  const most = Math.max(1, Math.floor((files * SHARE_OF_CALLERS) / listeners));
  if (limits.maxConnections <= most) return config;
  if (config.file.content.limits?.max_connections !== undefined) {
    logger.warn(
      {},
      `limits.max_connections is lowered from ${limits.maxConnections} to ${most}: the process may open only ${files} files; ${RAISE}`,
    );
  }
  return { ...config, limits: { ...limits, maxConnections: most, cappedByFiles: files } };
}

/** Without a handler, the process would end when a connection cannot be accepted. @param listener the config key */
export function logAcceptErrors(server: Server, listener: string, logger: Pick<Logger, 'error'>): void {
  server.on('error', (err) => {
    if (!server.listening) return;
    const code = errorCode(err);
    const isFull = code === 'EMFILE' || code === 'ENFILE';
    const why = isFull ? `: too many open files (${code}); ${RAISE}` : '';
    logger.error({ err }, `${listener} cannot accept a connection${why}`);
  });
}

/** Bounds the connections of callers by `limits.max_connections`. @param key of the listener in the config */
export function limitCallers(
  server: Server,
  key: string,
  http: ConnectionLimitOptions['http'],
  limits: () => Config['limits'],
  logger: Logger,
): ConnectionLimit {
  logAcceptErrors(server, key, logger);
  const onDropped = (count: number): void => {
    const { maxConnections, cappedByFiles } = limits();
    const why =
      cappedByFiles === undefined
        ? ''
        : `, lowered to ${maxConnections} because the process may open only ${cappedByFiles} files; ${RAISE}`;
    logger.warn({}, `limits.max_connections is reached${why}; dropped ${count} connections to ${key}`);
  };
  return limitConnections(server, { max: () => limits().maxConnections, http, onDropped });
}

/** Bounds the connections of a listener whose requests are short. @param key of the listener in the config, or its name */
export function limitOthers(server: HttpServer, key: string, max: number, logger: Logger): ConnectionLimit {
  logAcceptErrors(server, key, logger);
  return displaceConnections(server, withinOpenFiles(max), (count) =>
    logger.warn({}, `too many connections to ${key}; dropped ${count}`),
  );
}
