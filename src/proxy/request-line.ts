import type { Route } from '../config/route.ts';
import type { LogFields } from '../observability/log-fields.ts';
import { fieldsText, type LineLevel, lineEnd, lineStart, numberField, textField } from '../observability/log-line.ts';
import type { Outcome, WayIn } from '../observability/proxy-observer.ts';
import { callerTraceId } from './caller-tokens.ts';
import type { RequestRecord } from './request-record.ts';

/**
 * The log line of a finished request; `config/log.md` has the table of its fields. Unknown fields are left out. Put together field
 * by field: an object that is only made to be walked costs as much as the rest of the line.
 */
export function requestLine(level: LineLevel, record: RequestRecord, totalMs: number): string {
  const { id, incoming, active, span, cacheResult, ranWithoutCaller, exchangeMs, stepUp, abortedBy, error, diagnosis } =
    record;
  const traceId = span?.traceId ?? callerTraceId(incoming.rawHeaders, active.credentialHeaders);
  return (
    lineStart(level) +
    textField(',"request_id":', id) +
    numberField(',"total_ms":', totalMs) +
    textField(',"trace_id":', traceId) +
    textField(',"agent":', record.agent) +
    commonFields(record) +
    numberField(',"duration_ms":', record.responseStart?.durationMs) +
    textField(',"cache":', cacheResult) +
    textField(',"grant":', ranWithoutCaller ? 'client_credentials' : undefined) +
    numberField(',"exchange_ms":', exchangeMs) +
    textField(',"step_up":', stepUp?.join(' ')) +
    textField(',"aborted_by":', abortedBy) +
    (error === undefined && diagnosis === undefined ? '' : fieldsText(errorFields(record))) +
    textField(',"scopes_missing":', record.scopesMissing) +
    lineEnd('request')
  );
}

/** The fields that a request usually has in common with the previous one of its route, and their text. */
interface CommonFields {
  readonly method: string | undefined;
  readonly wayIn: WayIn;
  readonly status: number | undefined;
  readonly outcome: Outcome | undefined;
  readonly text: string;
}

const lastOfRoute = new WeakMap<Route, CommonFields>();

/** The text is kept, because each part of a line adds to its cost. */
function commonFields({ route, team, incoming: { method }, wayIn, responseStart }: RequestRecord): string {
  const { status, outcome } = responseStart ?? {};
  const last = route && lastOfRoute.get(route);
  if (
    last !== undefined &&
    last.method === method &&
    last.wayIn === wayIn &&
    last.status === status &&
    last.outcome === outcome
  ) {
    return last.text;
  }
  const fields = [
    textField(',"route":', route?.name),
    textField(',"team":', team),
    textField(',"method":', method),
    textField(',"way_in":', wayIn === 'base_url' ? undefined : wayIn),
    numberField(',"status":', status),
    textField(',"outcome":', outcome),
  ];
  const text = fields.join('');
  if (route !== undefined) lastOfRoute.set(route, { method, wayIn, status, outcome, text });
  return text;
}

function errorFields({ error, scopesMissing, diagnosis }: RequestRecord): LogFields {
  if (error === undefined) return { ...diagnosis };
  const fields = { error: error.code, err: error };
  if (scopesMissing !== undefined || error.diagnosis === undefined) return fields;
  return { ...fields, oauth_error: error.oauthError, ...error.diagnosis };
}
