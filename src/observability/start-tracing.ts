import type { Logger } from './logger.ts';
import type { Tracing } from './tracing.ts';

/**
 * Starts tracing if the standard variables turn it on. The SDK is loaded only then.
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export async function startTracing(
  env: NodeJS.ProcessEnv,
  version: string,
  logger: Logger,
): Promise<Tracing | undefined> {
  if (!isTracingOn(env)) return undefined;
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ?? env.OTEL_EXPORTER_OTLP_PROTOCOL ?? '';
  if (!['', 'http/protobuf'].includes(protocol)) {
    logger.warn('OTEL_EXPORTER_OTLP_PROTOCOL is not supported; sending spans as http/protobuf');
  }
  const { startOpenTelemetry } = await import('./open-telemetry.ts');
  return startOpenTelemetry(version, logger);
}

export function isTracingOn(env: NodeJS.ProcessEnv): boolean {
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return false;
  const exporters = env.OTEL_TRACES_EXPORTER ?? '';
  if (exporters !== '') return exporters.split(',').some((name) => name.trim() === 'otlp');
  return [env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, env.OTEL_EXPORTER_OTLP_ENDPOINT].some((url) => (url ?? '') !== '');
}
