import type { Config, LogLevel } from '../config/config.ts';
import { UsageError } from './command.ts';

const LEVELS: readonly string[] = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

/**
 * The level to log at: `CAMBIST_LOG_LEVEL`, which an injected pod can set for itself, else what the config says.
 * @throws {UsageError} where the variable is no level
 */
export function logLevelOf(config: Config): LogLevel {
  const level = process.env.CAMBIST_LOG_LEVEL;
  if (level === undefined) return config.log.level;
  if (!isLevel(level)) throw new UsageError(`CAMBIST_LOG_LEVEL is one of ${LEVELS.join(', ')}`);
  return level;
}

function isLevel(text: string): text is LogLevel {
  return LEVELS.includes(text);
}
