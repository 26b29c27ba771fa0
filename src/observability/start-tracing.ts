import type { Logger } from './logger.ts';
import type { Tracing, TracingFaults } from './tracing.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const FAULT_PAUSE_MS = 60_000;

/**
 * Starts tracing where the standard variables ask for it. The SDK is loaded then, and nowhere else.
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export async function startTracing(env: Environment, version: string, logger: Logger): Promise<Tracing | undefined> {
  if (!isTracingOn(env)) return undefined;
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ?? env.OTEL_EXPORTER_OTLP_PROTOCOL ?? '';
  if (!['', 'http/protobuf'].includes(protocol)) {
    logger.warn(
      'spans are sent as http/protobuf, whatever OTEL_EXPORTER_OTLP_PROTOCOL says: name an endpoint that takes that',
    );
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

/** A collector that is away for an hour is not a thousand lines. */
function createFaultLog(logger: Logger): TracingFaults {
  let silentUntilMs = 0;
  return {
    notSent(error) {
      if (performance.now() < silentUntilMs) return;
      silentUntilMs = performance.now() + FAULT_PAUSE_MS;
      logger.warn({ err: error }, 'spans could not be sent');
    },
    lost: (error) => logger.warn({ err: error }, 'the last spans are lost: they could not be sent'),
  };
}
