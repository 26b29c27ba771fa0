import type { IncomingMessage } from 'node:http';
import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import type { CambistError } from '../errors.ts';
import type { LineLevel } from '../observability/log-line.ts';
import type { Logger } from '../observability/logger.ts';
import { CALLER_GONE, type Outcome, type ProxyObserver } from '../observability/proxy-observer.ts';
import type { Attributes, Span, Tracing } from '../observability/tracing.ts';
import { type CredentialHeaders, callerTraceContext } from './caller-tokens.ts';
import { readMcpCall } from './mcp-call.ts';
import type { RecentDecisions } from './recent-decisions.ts';
import { requestLine } from './request-line.ts';
import type { RequestRecord } from './request-record.ts';

/** Receives each request as its response begins. The audit trail implements it. */
export interface RequestAudit {
  /** @throws {CambistError} ERR_AUDIT_UNAVAILABLE while requests are refused because no record can be written */
  assertWritable(): void;
  /** Records a request. Called once for each, before the caller gets the response. */
  requestDecided(record: RequestRecord): void;
}

export interface ReportOptions {
  readonly clock: Clock;
  readonly observer: ProxyObserver;
  readonly logger: Logger;
  readonly tracing: Tracing | undefined;
  readonly decisions: RecentDecisions;
  readonly audit: RequestAudit | undefined;
}

export function reportRoute(record: RequestRecord, route: Route, { observer }: ReportOptions): void {
  record.route = route;
  nameSpan(record, route);
  observer.requestRouted(route);
}

/** Reports the beginning of a response, in metrics, on the status page and in the audit trail. */
export function reportResponse(
  record: RequestRecord,
  status: number,
  outcome: Outcome,
  { clock, observer, audit, decisions }: ReportOptions,
): void {
  const nowMs = clock.monotonicMs();
  const durationMs = nowMs - record.startedMs;
  const { route, team, incoming, error, wayIn, agent } = record;
  record.responseStart = { status, outcome, durationMs };
  decisions.note(record, record.responseStart, nowMs);
  const method = incoming.method ?? '';
  observer.responseStarted(route, {
    method,
    wayIn,
    agent,
    team,
    status,
    outcome,
    error: error?.code,
    diagnosis: error?.diagnosis,
    durationMs,
  });
  audit?.requestDecided(record);
}

/** Reports the end of a request, in metrics, in a log line and in its span. */
export function reportEnd(record: RequestRecord, options: ReportOptions): void {
  const { clock, observer, logger } = options;
  if (record.responseStart === undefined) reportResponse(record, CALLER_GONE, 'cancelled', options);
  const { route, abortedBy } = record;
  if (route !== undefined) {
    observer.requestFinished(route);
    if (abortedBy !== undefined) observer.requestAborted(route, abortedBy);
  }
  logRequest(logger, record, clock.monotonicMs() - record.startedMs);
  endSpan(record);
}

/** Errors that need no action: a rollout causes one and a burst the other, and a retry succeeds. */
const TRANSIENT: ReadonlySet<ErrorCode> = new Set(['ERR_SHUTTING_DOWN', 'ERR_OVERLOADED']);

/** Writes the log line of a finished request. Of successful ones, the share in `log.sample` has a line, or all at level `debug`. */
export function logRequest(logger: Logger, record: RequestRecord, totalMs: number): void {
  const { responseStart, error, abortedBy } = record;
  const hasSucceeded =
    responseStart !== undefined && responseStart.status < 400 && error === undefined && abortedBy === undefined;
  const level = levelOf(error);
  if (!logger.isLevelEnabled(level) || (hasSucceeded && !isSampled(logger, record))) return;
  logger.writeLine(requestLine(level, record, totalMs));
}

function isSampled(logger: Logger, { active }: RequestRecord): boolean {
  const { sample } = active.config.log;
  return sample === 1 || logger.isLevelEnabled('debug') || Math.random() < sample;
}

function levelOf(error: CambistError | undefined): LineLevel {
  if (error === undefined) return 'info';
  return error.status < 500 || TRANSIENT.has(error.code) ? 'warn' : 'error';
}

/** Other methods share one name in spans, because callers could invent any number of them. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY']);

/**
 * Begins the span of a request, as part of the caller's trace where there is one. It contains neither path nor query, which may
 * identify a person.
 * @see OpenTelemetry semantic conventions, HTTP server spans
 */
export function beginSpan(tracing: Tracing, request: IncomingMessage, credentialHeaders: CredentialHeaders): Span {
  const { traceparent, tracestate } = callerTraceContext(request.rawHeaders, credentialHeaders);
  const { method = '' } = request;
  return tracing.beginRequest(METHODS.has(method) ? method : '_OTHER', traceparent, tracestate);
}

/** Names the span by method and route. @see OpenTelemetry semantic conventions, HTTP server spans */
function nameSpan({ span, incoming }: RequestRecord, route: Route): void {
  if (span === undefined) return;
  span.rename(`${METHODS.has(incoming.method ?? '') ? incoming.method : 'HTTP'} ${route.match.path}`);
  span.set({ 'http.route': route.match.path, 'cambist.route': route.name });
}

/** A 5xx response makes the span an error, a 4xx does not. */
function endSpan(record: RequestRecord): void {
  const { span, responseStart, error, cacheResult, id, stepUp, abortedBy, active, agent, team } = record;
  if (span === undefined) return;
  if (active.config.tracing.mcp) span.set(mcpAttributes(record));
  const status = responseStart?.status;
  const failed = status !== undefined && status >= 500 ? (error?.code ?? String(status)) : abortedBy;
  span.end(
    {
      'http.response.status_code': status,
      'cambist.outcome': responseStart?.outcome,
      'cambist.cache': cacheResult,
      'cambist.error': error?.code,
      'cambist.request_id': id,
      'cambist.agent': agent,
      'cambist.team': team,
      'cambist.step_up': stepUp !== undefined ? true : undefined,
    },
    failed,
  );
}

/** The attribute for the name in a message, by MCP method. */
const NAME_ATTRIBUTES: Readonly<Record<string, string>> = {
  'tools/call': 'gen_ai.tool.name',
  'prompts/get': 'gen_ai.prompt.name',
  'resources/read': 'mcp.resource.uri',
};

/**
 * The MCP message of a request. `mcp.session.id` is recommended, not required, and left out: the id identifies a user's session.
 * @see OpenTelemetry semantic conventions, Model Context Protocol
 */
function mcpAttributes({ incoming, body, active }: RequestRecord): Attributes {
  const call = readMcpCall(incoming, body, active.credentialHeaders);
  if (call?.method === undefined) return {};
  const nameAttribute = NAME_ATTRIBUTES[call.method];
  return {
    'mcp.method.name': call.method,
    'mcp.protocol.version': call.protocol_version,
    'gen_ai.operation.name': call.method === 'tools/call' ? 'execute_tool' : undefined,
    ...(nameAttribute !== undefined && { [nameAttribute]: call.name }),
  };
}
