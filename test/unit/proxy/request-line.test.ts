import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError, describeError, ERROR_CODES, type ErrorCode } from '../../../src/errors.ts';
import { LOG_FIELDS } from '../../../src/observability/log-fields.ts';
import { createLogger, type Logger } from '../../../src/observability/logger.ts';
import { CUTTERS } from '../../../src/observability/proxy-observer.ts';
import type { Passage } from '../../../src/proxy/passage.ts';
import { logRequest } from '../../../src/proxy/request-line.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE_ID}-b7ad6b7169203331-01`;

/** A request that was answered, as far as its line depends on it. */
function passage(answer: Partial<Passage['answer']> & object, rawHeaders: string[] = [], more: Partial<Passage> = {}) {
  return {
    id: 'r-1',
    request: { method: 'POST', rawHeaders },
    credentialHeaders: new Set(['authorization']),
    answer: { status: 200, outcome: 'forwarded', durationMs: 1.23456, ...answer },
    ...more,
  } as unknown as Passage;
}

function lineOf(of: Passage, keep = true): Record<string, unknown> | undefined {
  const { logger, lines } = loggerWithLines();
  logRequest(logger, of, 2, () => keep);
  return lines[0];
}

test('a field that is not known is not in the line', () => {
  const { time: _time, ...line } = lineOf(passage({})) ?? {};
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

test('of requests that went well as many are written as are to be kept', () => {
  assert.equal(lineOf(passage({}), false), undefined);
  assert.equal(lineOf(passage({ status: 304 }), false), undefined);
});

test('a request that did not go well is written, however few are kept', () => {
  assert.equal(lineOf(passage({ status: 404 }), false)?.status, 404);
  assert.equal(lineOf(passage({ status: 499, outcome: 'cancelled' }), false)?.status, 499);
  assert.equal(lineOf(passage({}, [], { cutBy: 'upstream' }), false)?.cut_by, 'upstream');
  const error = new CambistError('ERR_OVERLOADED', 'full');
  const line = lineOf(passage({ status: 503, outcome: 'failed' }, [], { error }), false);
  assert.deepEqual([line?.level, line?.error], ['warn', 'ERR_OVERLOADED']);
});

test('the level says who has to act: an operator, the caller, or nobody', () => {
  const levelOf = (code: ErrorCode) => {
    const error = new CambistError(code, 'why');
    return lineOf(passage({ status: error.status, outcome: 'failed' }, [], { error }))?.level;
  };
  const passing = ['ERR_SHUTTING_DOWN', 'ERR_OVERLOADED'];
  for (const code of ERROR_CODES) {
    const { status } = describeError(code);
    assert.equal(levelOf(code), status < 500 || passing.includes(code) ? 'warn' : 'error', code);
  }
});

test('the trace that the caller takes part in is named', () => {
  assert.equal(lineOf(passage({}, ['Traceparent', TRACEPARENT]))?.trace_id, TRACE_ID);
});

/** What a logger writes, with the same time in all of it. */
function written(write: (logger: Logger) => void): string {
  const lines: string[] = [];
  write(createLogger('debug', { write: (line) => void lines.push(line) }));
  return lines.join('').replace(/"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/, '"time":""');
}

test('a line that is put together by hand is what the logger would write of the same fields', () => {
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
    cache: maybe(fc.constantFrom('hit', 'miss', 'joined', 'negative', 'bypass')),
    answer: maybe(fc.record({ status: fc.nat(999), outcome: fc.constantFrom('forwarded', 'failed'), durationMs: ms })),
    exchangeMs: maybe(ms),
    stepUp: maybe(fc.array(fc.string())),
    error: maybe(fault),
    cutBy: maybe(fc.constantFrom(...CUTTERS)),
    totalMs: ms,
  });
  fc.assert(
    fc.property(found, ({ method, trace, totalMs, ...rest }) => {
      const of = {
        ...rest,
        credentialHeaders: new Set(['authorization']),
        request: { method, rawHeaders: trace === undefined ? [] : ['traceparent', trace] },
      } as unknown as Passage;
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
