import type { Config } from '../config/config.ts';
import { isLogLevel, LOG_LEVELS, type LogLevel } from '../config/log-levels.ts';
import { UsageError } from './command.ts';

/**
 * The log level: `CAMBIST_LOG_LEVEL`, which an injected pod can set, else that of the config.
 * @throws {UsageError} if the variable is invalid
 */
export function logLevelOf(config: Config): LogLevel {
  const level = process.env.CAMBIST_LOG_LEVEL;
  if (level === undefined) return config.log.level;
  if (!isLogLevel(level)) throw new UsageError(`invalid CAMBIST_LOG_LEVEL: must be one of ${LOG_LEVELS.join(', ')}`);
  return level;
}
