import { LOG_LEVELS, type LogLevel } from '../config/config.ts';
import type { Logger } from './logger.ts';

export type LogLevelControl = ReturnType<typeof createLogLevelControl>;

export function createLogLevelControl(logger: Logger) {
  let configured = logger.level as LogLevel;
  return {
    get level(): LogLevel {
      return logger.level as LogLevel;
    },
    get configured(): LogLevel {
      return configured;
    },
    /**
     * Changes the level until a restart, or until the configured level changes. Logs the change.
     * @returns false if fewer lines than configured would be written. The agent can reach the admin port of its sidecar, and must not
     * be able to hide its requests
     */
    change(level: LogLevel): boolean {
      if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(configured)) return false;
      const from = logger.level;
      if (level === from) return true;
      // The line is written at any level.
      logger.level = 'info';
      logger.info({ from, to: level }, 'log level changed on the admin port');
      logger.level = level;
      return true;
    },
    configure(level: LogLevel): void {
      if (level !== configured) logger.level = level;
      configured = level;
    },
  };
}
