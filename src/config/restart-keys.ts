import type { Config } from './config.ts';

/** The keys that are fixed once a listener is open, or a part of the program is loaded. */
const FIXED: Readonly<Record<string, (config: Config) => unknown>> = {
  listen: ({ listen }) => listen,
  admin: ({ admin }) => admin,
  socket_mode: ({ socketMode }) => socketMode,
  inbound: ({ inbound }) => inbound !== undefined,
  'inbound.listen': ({ inbound }) => inbound?.listen,
  signals: ({ signals }) => signals,
  intercept: ({ intercept }) => intercept,
  audit: ({ audit }) => audit,
  'cache.shared': ({ cache }) => cache.shared,
  'limits.max_header_size': ({ limits }) => limits.maxHeaderBytes,
};

/** The changed keys that take effect at the next restart. */
export function restartKeys(before: Config, after: Config): string[] {
  const changed = Object.keys(FIXED).filter((key) => {
    const read = FIXED[key];
    return JSON.stringify(read?.(before)) !== JSON.stringify(read?.(after));
  });
  // Where the whole section is new or gone, its keys say nothing more.
  return changed.includes('inbound') ? changed.filter((key) => key !== 'inbound.listen') : changed;
}
