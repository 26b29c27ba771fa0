import { setTimeout as delay } from 'node:timers/promises';
import {
  type Context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  ROOT_CONTEXT,
  type Span as SdkSpan,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { setGlobalErrorHandler, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { Logger } from './logger.ts';
import { telemetryResource } from './telemetry-resource.ts';
import type { Attributes, Span, Tracing } from './tracing.ts';

/** Longest wait for the last spans at shutdown. A running collector needs less, and there is no retry. */
const SHUTDOWN_MS = 1000;

/** While the collector is down, this is the interval of log lines, and not that of batches. */
const FAULT_LOG_INTERVAL_MS = 60_000;

/**
 * Starts tracing with the OpenTelemetry SDK over OTLP/HTTP. The SDK reads endpoint, headers, sampler, batches and resource from
 * the standard variables.
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export function startOpenTelemetry(version: string, logger: Logger): Tracing {
  let silentUntilMs = 0;
  setGlobalErrorHandler((err) => {
    if (performance.now() < silentUntilMs) return;
    silentUntilMs = performance.now() + FAULT_LOG_INTERVAL_MS;
    logger.warn({ err }, 'sending spans failed');
  });
  const provider = new BasicTracerProvider({
    resource: telemetryResource(version),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  const tracer = provider.getTracer('cambist', version);
  const propagator = new W3CTraceContextPropagator();

  function begin(name: string, kind: SpanKind, attributes: Attributes, parent: Context): Span {
    const span = tracer.startSpan(name, { kind, attributes }, parent);
    const context = trace.setSpan(parent, span);
    return {
      traceId: span.spanContext().traceId,
      child: (childName, childAttributes) => begin(childName, SpanKind.CLIENT, childAttributes, context),
      headers() {
        const carrier = {};
        propagator.inject(context, carrier, defaultTextMapSetter);
        return Object.entries<string>(carrier).flat();
      },
      rename: (newName) => void span.updateName(newName),
      set: (more) => void span.setAttributes(more),
      end(last = {}, error) {
        span.setAttributes(last);
        if (error !== undefined) mark(span, error);
        span.end();
      },
    };
  }

  return {
    beginRequest(method, traceparent, tracestate) {
      const parent = propagator.extract(ROOT_CONTEXT, { traceparent, tracestate }, defaultTextMapGetter);
      return begin(method, SpanKind.SERVER, { 'http.request.method': method, 'url.scheme': 'http' }, parent);
    },
    async shutdown() {
      let fault: unknown;
      const fail = (error: unknown): void => {
        fault ??= error;
      };
      setGlobalErrorHandler(fail);
      const late = delay(SHUTDOWN_MS, undefined, { ref: false }).then(() =>
        fail(new Error(`the collector did not accept them within ${SHUTDOWN_MS} ms`)),
      );
      await Promise.race([provider.shutdown().catch(fail), late]);
      if (fault !== undefined) logger.warn({ err: fault }, 'last spans lost; sending them failed');
    },
  };
}

function mark(span: SdkSpan, error: string): void {
  span.setAttribute('error.type', error);
  span.setStatus({ code: SpanStatusCode.ERROR });
}
