import type { Logger } from './logger.ts';
import type { Tracing, TracingFaults } from './tracing.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const FAULT_LOG_INTERVAL_MS = 60_000;

/**
 * Starts tracing if the standard variables turn it on. The SDK is loaded only then.
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export async function startTracing(env: Environment, version: string, logger: Logger): Promise<Tracing | undefined> {
  if (!isTracingOn(env)) return undefined;
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ?? env.OTEL_EXPORTER_OTLP_PROTOCOL ?? '';
  if (!['', 'http/protobuf'].includes(protocol)) {
    logger.warn('OTEL_EXPORTER_OTLP_PROTOCOL is not supported; sending spans as http/protobuf');
  }
  const { startOpenTelemetry } = await import('./open-telemetry.ts');
  return startOpenTelemetry(version, createFaultLog(logger));
}

export function isTracingOn(env: Environment): boolean {
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return false;
  const exporters = env.OTEL_TRACES_EXPORTER ?? '';
  if (exporters !== '') return exporters.split(',').some((name) => name.trim() === 'otlp');
  return [env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, env.OTEL_EXPORTER_OTLP_ENDPOINT].some((url) => (url ?? '') !== '');
}

/** Logs once a minute while the collector is down, not for every batch. */
function createFaultLog(logger: Logger): TracingFaults {
  let silentUntilMs = 0;
  return {
    notSent(error) {
      if (performance.now() < silentUntilMs) return;
      silentUntilMs = performance.now() + FAULT_LOG_INTERVAL_MS;
      logger.warn({ err: error }, 'sending spans failed');
    },
    lost: (error) => logger.warn({ err: error }, 'last spans lost; sending them failed'),
  };
}
