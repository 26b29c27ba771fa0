import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { describeError, ERROR_CODES, type ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { LOG_FIELDS } from '../../../src/observability/log-fields.ts';
import { logLine } from '../../../src/observability/log-line.ts';
import { requestLine } from '../../../src/proxy/request-line.ts';
import type { RequestRecord } from '../../../src/proxy/request-record.ts';
import { logRequest, type ReportOptions, reportEnd } from '../../../src/proxy/request-report.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

const active = { credentialHeaders: new Set(['authorization']), config: { log: { sample: 1 }, tracing: {} } };
const notSampled = { ...active, config: { log: { sample: 0 } } };

/** A request that got a response, as far as its log line depends on it. */
function record(response: object, more: Partial<RequestRecord> = {}) {
  return {
    id: 'r-1',
    incoming: { method: 'POST', rawHeaders: [] },
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

test('writes the line of a failed request, of a sampled one, and at debug of each, but none below the level', () => {
  const failed = { error: new CambistError('ERR_OVERLOADED', 'full') };
  for (const [status, level, keep, hasLine, more] of [
    [200, 'info', true, true],
    [200, 'info', false, false],
    [304, 'info', false, false],
    [200, 'debug', false, true],
    [404, 'info', false, true],
    [499, 'info', false, true],
    [200, 'info', false, true, { abortedBy: 'upstream' }],
    [503, 'info', false, true, failed],
    [200, 'error', true, false],
    [503, 'error', true, false, failed],
  ] as const) {
    const line = lineOf(record({ status }, more), keep, level);
    assert.deepEqual([line?.status, line?.duration_ms], hasLine ? [status, 1.235] : [undefined, undefined]);
  }
});

test('logs at error where the operator has to act, and at warn otherwise', () => {
  const levelOf = (code: ErrorCode) => {
    const error = new CambistError(code, 'why');
    return lineOf(record({ status: error.status, outcome: 'failed' }, { error }))?.level;
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
  const ofAgent = record({}, { agent: 'billing', team: 'ledgers', span } as never);
  const options = { clock: { monotonicMs: () => 1 }, logger: loggerWithLines().logger };
  reportEnd(ofAgent, options as unknown as ReportOptions);
  assert.deepEqual([ended[0]?.['cambist.agent'], ended[0]?.['cambist.team']], ['billing', 'ledgers']);
});

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
/** The same objects again and again, so that lines follow others of their route. */
const ROUTES = ['github', 'with "quotes"', 'größe', '\u2028'].map((name) => ({ name }));

const optional = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const ms = fc.oneof(
  fc.integer({ min: 0, max: 1e6 }),
  fc.integer({ min: 1, max: 1e9 }).map((n) => n / 1000),
);
const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), fc.constantFrom('a"b', 'a\\b', 'plain'));
const failure = fc.tuple(fc.boolean(), text).map(([isDiagnosed, why]) => {
  if (!isDiagnosed) return new CambistError('ERR_UPSTREAM_TIMEOUT', why);
  const error = new CambistError('ERR_EXCHANGE_REFUSED', why, { oauthError: 'invalid_target' });
  error.diagnosis = { finding: 'audience_wrong', cause: why, fix: 'a fix' };
  return error;
});

const anyRecord = fc
  .record({
    id: text,
    method: fc.constantFrom('GET', 'POST', undefined),
    wayIn: fc.constantFrom('base_url', 'proxy', 'redirect'),
    route: optional(fc.constantFrom(...ROUTES)),
    trace: fc.boolean(),
    responseStart: optional(
      fc.record({
        status: fc.constantFrom(200, 404, 503),
        outcome: fc.constantFrom('forwarded', 'failed'),
        durationMs: ms,
      }),
    ),
    cacheResult: optional(fc.constantFrom('hit', 'miss')),
    ranWithoutCaller: fc.boolean(),
    exchangeMs: optional(ms),
    stepUp: optional(fc.array(text, { maxLength: 3 })),
    abortedBy: optional(fc.constantFrom('caller', 'stall')),
    scopesMissing: optional(text),
    diagnosis: optional(fc.record({ finding: text, cause: text, fix: text })),
    error: optional(failure),
  })
  .map(({ method, trace, ...rest }) => {
    const rawHeaders = trace ? ['traceparent', `00-${TRACE_ID}-b7ad6b7169203331-01`] : [];
    return { ...rest, incoming: { method, rawHeaders }, active, span: undefined } as unknown as RequestRecord;
  });

/** The fields of the line as an object, in their order. */
function fieldsOf({ id, incoming, wayIn, route, responseStart, error, ...rest }: RequestRecord, totalMs: number) {
  return {
    request_id: id,
    total_ms: totalMs,
    trace_id: incoming.rawHeaders.length > 0 ? TRACE_ID : undefined,
    route: route?.name,
    method: incoming.method,
    way_in: wayIn === 'base_url' ? undefined : wayIn,
    status: responseStart?.status,
    outcome: responseStart?.outcome,
    duration_ms: responseStart?.durationMs,
    cache: rest.cacheResult,
    grant: rest.ranWithoutCaller ? 'client_credentials' : undefined,
    exchange_ms: rest.exchangeMs,
    step_up: rest.stepUp?.join(' '),
    aborted_by: rest.abortedBy,
    error: error?.code,
    err: error,
    ...(error === undefined && rest.diagnosis),
    ...(rest.scopesMissing === undefined && error?.diagnosis && { oauth_error: error.oauthError, ...error.diagnosis }),
    scopes_missing: rest.scopesMissing,
  };
}

const withoutTime = (line: string): string => line.replace(/"time":"[^"]*"/, '');

test('writes the same line as from an object of its fields, whatever the request', () => {
  fc.assert(
    fc.property(fc.constantFrom('error', 'warn', 'info'), anyRecord, ms, (level, request, totalMs) => {
      const line = requestLine(level, request, totalMs);
      assert.equal(withoutTime(line), withoutTime(logLine(level, fieldsOf(request, totalMs), 'request')));
      const names = Object.keys(JSON.parse(line) as object);
      assert.deepEqual(
        names.filter((name) => !(LOG_FIELDS as readonly string[]).includes(name)),
        [],
      );
    }),
    { numRuns: 2000 },
  );
});
