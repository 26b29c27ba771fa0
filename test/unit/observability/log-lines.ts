import { createLogger, type Logger } from '../../../src/observability/logger.ts';

export function loggerWithLines(): { logger: Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  return { logger: createLogger('debug', { write: (line: string) => void lines.push(JSON.parse(line)) }), lines };
}
