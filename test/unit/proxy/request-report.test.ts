import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeError, ERROR_CODES, type ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import type { RequestRecord } from '../../../src/proxy/request-record.ts';
import { logRequest, type ReportOptions, reportEnd } from '../../../src/proxy/request-report.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

const active = { credentialHeaders: new Set(['authorization']), config: { log: { sample: 1 }, tracing: {} } };
const notSampled = { ...active, config: { log: { sample: 0 } } };

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

function lineOf(of: RequestRecord, keep = true, level = 'info'): Record<string, unknown> | undefined {
  const { logger, lines } = loggerWithLines();
  logger.level = level;
  logRequest(logger, keep ? of : ({ ...of, active: notSampled } as unknown as RequestRecord), 2);
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
  assert.equal(lineOf(record({}), false, 'debug')?.status, 200);
});

test('writes no line below the level of the log', () => {
  const { logger, lines } = loggerWithLines();
  logger.level = 'error';
  logRequest(logger, record({}), 2);
  const error = new CambistError('ERR_OVERLOADED', 'full');
  logRequest(logger, record({ status: 503, outcome: 'failed' }, [], { error }), 2);
  assert.deepEqual(lines, []);
});

test('always writes the line of a request that failed', () => {
  assert.equal(lineOf(record({ status: 404 }), false)?.status, 404);
  assert.equal(lineOf(record({ status: 499, outcome: 'cancelled' }), false)?.status, 499);
  assert.equal(lineOf(record({}, [], { abortedBy: 'upstream' }), false)?.aborted_by, 'upstream');
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

test('names the agent and the team in the span', () => {
  const ended: Record<string, unknown>[] = [];
  const span = { end: (attributes: Record<string, unknown>) => void ended.push(attributes) };
  const ofAgent = record({}, [], {
    agent: 'billing',
    team: 'ledgers',
    span,
  } as never);
  const options = { clock: { monotonicMs: () => 1 }, logger: loggerWithLines().logger };
  reportEnd(ofAgent, options as unknown as ReportOptions);
  assert.equal(ended[0]?.['cambist.agent'], 'billing');
  assert.equal(ended[0]?.['cambist.team'], 'ledgers');
});
