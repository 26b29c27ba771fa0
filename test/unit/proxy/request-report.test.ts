import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError, describeError, ERROR_CODES, type ErrorCode } from '../../../src/errors.ts';
import { LOG_FIELDS } from '../../../src/observability/log-fields.ts';
import { createLogger, type Logger } from '../../../src/observability/logger.ts';
import { ABORTED_BY } from '../../../src/observability/proxy-observer.ts';
import type { RequestRecord } from '../../../src/proxy/proxy-request.ts';
import { logRequest } from '../../../src/proxy/request-report.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE_ID}-b7ad6b7169203331-01`;

const active = { credentialHeaders: new Set(['authorization']) };

/** A request that got a response, as far as its log line depends on it. */
function record(response: object, rawHeaders: string[] = [], more: Partial<RequestRecord> = {}) {
  return {
    id: 'r-1',
    incoming: { method: 'POST', rawHeaders },
    active,
    responseStart: { status: 200, outcome: 'forwarded', durationMs: 1.23456, ...response },
    ...more,
  } as unknown as RequestRecord;
}

function lineOf(of: RequestRecord, keep = true): Record<string, unknown> | undefined {
  const { logger, lines } = loggerWithLines();
  logRequest(logger, of, 2, () => keep);
  return lines[0];
}

test('leaves unknown fields out of the line', () => {
  const { time: _time, ...line } = lineOf(record({})) ?? {};
  assert.deepEqual(line, {
    level: 'info',
    request_id: 'r-1',
    method: 'POST',
    status: 200,
    outcome: 'forwarded',
    duration_ms: 1.235,
    total_ms: 2,
    msg: 'request',
  });
});

test('writes no line for a successful request that is not sampled', () => {
  assert.equal(lineOf(record({}), false), undefined);
  assert.equal(lineOf(record({ status: 304 }), false), undefined);
});

test('always writes the line of a request that failed', () => {
  assert.equal(lineOf(record({ status: 404 }), false)?.status, 404);
  assert.equal(lineOf(record({ status: 499, outcome: 'cancelled' }), false)?.status, 499);
  assert.equal(lineOf(record({}, [], { abortedBy: 'upstream' }), false)?.cut_by, 'upstream');
  const error = new CambistError('ERR_OVERLOADED', 'full');
  const line = lineOf(record({ status: 503, outcome: 'failed' }, [], { error }), false);
  assert.deepEqual([line?.level, line?.error], ['warn', 'ERR_OVERLOADED']);
});

test('logs at error where the operator has to act, and at warn otherwise', () => {
  const levelOf = (code: ErrorCode) => {
    const error = new CambistError(code, 'why');
    return lineOf(record({ status: error.status, outcome: 'failed' }, [], { error }))?.level;
  };
  const passing = ['ERR_SHUTTING_DOWN', 'ERR_OVERLOADED'];
  for (const code of ERROR_CODES) {
    const { status } = describeError(code);
    assert.equal(levelOf(code), status < 500 || passing.includes(code) ? 'warn' : 'error', code);
  }
});

test('names the trace that the caller takes part in', () => {
  assert.equal(lineOf(record({}, ['Traceparent', TRACEPARENT]))?.trace_id, TRACE_ID);
});

/** The output of a logger, without the time. */
function written(write: (logger: Logger) => void): string {
  const lines: string[] = [];
  write(createLogger('debug', { write: (line) => void lines.push(line) }));
  return lines.join('').replace(/"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/, '"time":""');
}

test('assembles the same line that the logger would write from an object', () => {
  const ms = fc.double({ min: 0, max: 1e9, noNaN: true });
  const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
  const fault = fc
    .tuple(fc.constantFrom('ERR_OVERLOADED', 'ERR_ROUTE_NOT_FOUND'), fc.string(), maybe(fc.string()))
    .map(([code, message, cause]) => {
      return new CambistError(
        code as 'ERR_OVERLOADED',
        message,
        cause === undefined ? {} : { cause: new Error(cause) },
      );
    });
  const found = fc.record({
    id: fc.stringMatching(/^[A-Za-z0-9._:-]{1,64}$/),
    method: fc.constantFrom(...METHODS),
    trace: maybe(fc.constant(TRACEPARENT)),
    route: maybe(fc.stringMatching(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/).map((name) => ({ name, subjectToken: {} }))),
    cacheResult: maybe(fc.constantFrom('hit', 'miss', 'joined', 'negative', 'bypass')),
    responseStart: maybe(
      fc.record({ status: fc.nat(999), outcome: fc.constantFrom('forwarded', 'failed'), durationMs: ms }),
    ),
    exchangeMs: maybe(ms),
    stepUp: maybe(fc.array(fc.string())),
    error: maybe(fault),
    abortedBy: maybe(fc.constantFrom(...ABORTED_BY)),
    totalMs: ms,
  });
  fc.assert(
    fc.property(found, ({ method, trace, totalMs, ...rest }) => {
      const of = {
        ...rest,
        active,
        incoming: { method, rawHeaders: trace === undefined ? [] : ['traceparent', trace] },
      } as unknown as RequestRecord;
      const byHand = written((logger) => logRequest(logger, of, totalMs, () => true));
      const { level, time: _time, msg, ...fields } = JSON.parse(byHand) as Record<string, unknown>;
      const byLogger = written((logger) => {
        const err = rest.error === undefined ? {} : { err: rest.error };
        logger[level as 'info' | 'warn' | 'error']({ ...fields, ...err }, String(msg));
      });
      const sameNumbers = byHand.replace(/(?<=_ms":)\d+\.\d{3}/g, (ms) => String(Number(ms)));
      assert.equal(sameNumbers, byLogger);
      assert.deepEqual(
        Object.keys(fields).filter((name) => !(LOG_FIELDS as readonly string[]).includes(name)),
        [],
      );
    }),
  );
});
