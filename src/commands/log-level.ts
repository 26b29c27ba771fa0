import type { Config, LogLevel } from '../config/config.ts';
import { UsageError } from './command.ts';

const LEVELS: readonly string[] = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

/**
 * The log level: `CAMBIST_LOG_LEVEL`, which an injected pod can set, else that of the config.
 * @throws {UsageError} if the variable is invalid
 */
export function logLevelOf(config: Config): LogLevel {
  const level = process.env.CAMBIST_LOG_LEVEL;
  if (level === undefined) return config.log.level;
  if (!isLevel(level)) throw new UsageError(`invalid CAMBIST_LOG_LEVEL: must be one of ${LEVELS.join(', ')}`);
  return level;
}

function isLevel(text: string): text is LogLevel {
  return LEVELS.includes(text);
}
