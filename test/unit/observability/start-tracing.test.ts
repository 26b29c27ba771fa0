import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isTracingOn, startTracing } from '../../../src/observability/start-tracing.ts';
import { loggerWithLines } from './log-lines.ts';

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };

test('turns tracing on by the standard variables', () => {
  for (const env of [
    endpoint,
    { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' },
    { OTEL_TRACES_EXPORTER: 'otlp' },
    { OTEL_TRACES_EXPORTER: 'console, otlp' },
    { ...endpoint, OTEL_SDK_DISABLED: 'false' },
  ]) {
    assert.equal(isTracingOn(env), true, JSON.stringify(env));
  }
  for (const env of [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    { OTEL_SERVICE_NAME: 'cambist' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'none' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'zipkin' },
    { ...endpoint, OTEL_SDK_DISABLED: 'TRUE' },
  ]) {
    assert.equal(isTracingOn(env), false, JSON.stringify(env));
  }
});

test('warns of an unsupported protocol and names the one in use', async () => {
  for (const [protocol, count] of [
    ['grpc', 1],
    ['http/protobuf', 0],
  ] as const) {
    const { logger, lines } = loggerWithLines();
    const tracing = await startTracing({ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: protocol }, '1.2.3', logger);
    await tracing?.shutdown();
    assert.equal(lines.length, count, protocol);
  }
});
