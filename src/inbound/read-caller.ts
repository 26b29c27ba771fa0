import type { Inbound } from '../config/inbound.ts';
import type { Route } from '../config/route.ts';
import { needsCaller, readsCaller } from '../config/route.ts';
import { CambistError, type CambistErrorOptions } from '../errors.ts';
import { containsToken } from '../proxy/caller-tokens.ts';
import { headerValues, type RawHeaders } from '../proxy/headers.ts';
import { type ReadCaller, readCallerToken } from '../proxy/read-caller-token.ts';
import type { Routed } from '../proxy/steps.ts';
import type { SubjectSource } from '../tokens/subject-source.ts';
import { isHeader } from '../transport/http1/write-request.ts';
import { BAGGAGE, handleMembers, withoutSecrets } from './baggage.ts';
import { handlesIn, type ReadHandle, readHandle } from './handle-text.ts';
import type { Handle, Handles } from './handles.ts';
import type { DetachedResult } from './inbound-metrics.ts';
import type { FindForeignHandle } from './verify-caller.ts';

/**
 * Reads the caller of an outbound request by its handle. The route then works as with the token itself, and no handle is
 * forwarded. A value that looks like a handle is resolved or refused on every route.
 * @param inbound returns the active config
 * @param findForeign resolves the handles of other replicas, where there are any
 * @param onDetached called for a handle whose request is over, on a route that reads its caller
 */
export function createHandleReader(
  handles: Handles,
  inbound: () => Inbound,
  onDetached: (result: DetachedResult) => void,
  findForeign?: FindForeignHandle,
): ReadCaller {
  return (routed, subjects) => {
    const { rawHeaders, socket } = routed.request.incoming;
    const [text, ...others] = new Set(handleTexts(rawHeaders));
    if (others.length > 0) throw invalid('has two different handles');
    const handle = text === undefined ? undefined : handles.find(text);
    if (text === undefined || handle !== undefined || findForeign === undefined) {
      return read(routed, subjects, text, handle);
    }
    return findForeign(text, () => socket.remoteAddress).then((foreign) => read(routed, subjects, text, foreign));
  };

  function read(
    routed: Routed,
    subjects: SubjectSource,
    text: string | undefined,
    handle: Handle | undefined,
  ): ReturnType<ReadCaller> {
    const { rawHeaders } = routed.request.incoming;
    if (text !== undefined && handle === undefined) throw invalid('has a handle that is unknown or expired');
    if (handle !== undefined) routed.request.admitCaller(handle.subject);
    if (handlesIn(routed.path).length > 0) throw invalid('has a handle in its URL');
    const rules = inbound();
    if (!rules.allowRawTokens) refuseRawTokens(routed, handle);
    if (handle === undefined) {
      const isLost = !rules.allowRawTokens && needsCaller(routed.route);
      if (isLost && routed.route.unattended === undefined) throw missing(routed.route);
      const caller = readCallerToken(routed, subjects, rawHeaders);
      if (!isLost || caller instanceof Promise) return caller;
      const { withheldTokens } = caller;
      return { subject: undefined, withheldTokens, rawHeaders, missing: (facts) => missing(routed.route, facts) };
    }
    const uses = usesOf(routed, handle, rules);
    if (uses.length > 0 && isDetached(handle, uses)) {
      onDetached(rules.detached === 'allow' ? 'allowed' : 'refused');
      if (rules.detached === 'refuse') throw invalid(DETACHED);
    }
    return readCallerToken(routed, subjects, resolved(routed, handle, uses.length > 0));
  }
}

const DETACHED =
  'has a handle whose request is over: a connection that users share, or work in the background, which inbound.detached can allow';

/** Everything that looks like a handle in any header. A baggage member for a handle must have one. */
function handleTexts(raw: RawHeaders): string[] {
  const texts: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const value = raw[i + 1] as string;
    if (handlesIn(raw[i] as string).length > 0) throw invalid('has a handle in the name of a header');
    texts.push(...handlesIn(value));
    if (isHeader(raw[i] as string, BAGGAGE))
      texts.push(...handleMembers(value).map((member) => readHandle(member)?.text ?? member));
  }
  return texts;
}

/** Routes that read no token of a caller drop it anyway. */
function refuseRawTokens({ request, route }: Routed, handle: Handle | undefined): void {
  if (!readsCaller(route)) return;
  const { rawHeaders } = request.incoming;
  for (const name of credentialHeaders(route)) {
    for (const value of headerValues(rawHeaders, name)) {
      if (value.trim() === '' || (handle !== undefined && standsFor(withoutScheme(value), handle))) continue;
      throw invalid(
        `has a token in the header "${name}": set inbound.allow_raw_tokens if the agent has tokens of its own`,
      );
    }
  }
}

/**
 * The places where the handle stands for its token, and not only in a copy. A header that the code of the agent set counts more than
 * baggage, which instrumentation sends. Empty on a route that reads no caller.
 */
function usesOf({ request, route }: Routed, handle: Handle, { baggage }: Inbound): readonly ReadHandle[] {
  if (!readsCaller(route)) return [];
  const { rawHeaders } = request.incoming;
  const { credentialHeaders: names } = request.active;
  const direct: (ReadHandle | undefined)[] = [];
  const indirect: (ReadHandle | undefined)[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [rawHeaders[i] as string, rawHeaders[i + 1] as string];
    if (names.has(name.toLowerCase())) direct.push(standsFor(withoutScheme(value), handle));
    else if (baggage && isHeader(name, BAGGAGE)) {
      indirect.push(...handleMembers(value).map((member) => standsFor(member, handle)));
    }
  }
  const uses = direct.filter((use) => use !== undefined);
  return uses.length > 0 ? uses : indirect.filter((use) => use !== undefined);
}

/**
 * Has the request ended that the handle was given for? Clients that share a connection among users send the baggage of the user who
 * opened it. A handle without a number is used while any request of its caller is in flight.
 */
function isDetached({ requests }: Handle, uses: readonly ReadHandle[]): boolean {
  return requests.size === 0 || uses.some(({ request }) => request !== undefined && !requests.has(request));
}

function standsFor(value: string, { text }: Handle): ReadHandle | undefined {
  const read = readHandle(value);
  return read?.text === text ? read : undefined;
}

/** The headers with the caller's token in the header of the route, and without the handle. @param isUsed it stands for the token */
function resolved({ request, route }: Routed, handle: Handle, isUsed: boolean): string[] {
  const { text, subject } = handle;
  const { rawHeaders } = request.incoming;
  const { credentialHeaders: names } = request.active;
  const own = route.subjectToken.header;
  const headers: string[] = [];
  let hasOwn = false;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    let value = rawHeaders[i + 1] as string;
    const key = name.toLowerCase();
    if (names.has(key) && standsFor(withoutScheme(value), handle)) {
      if (key !== own || !isUsed) continue;
      value = value.replace(withoutScheme(value), () => subject.token.reveal());
    } else if (key === BAGGAGE) {
      value = withoutSecrets(value, [text]);
      if (value === '') continue;
    }
    if (key === own) {
      if (value.trim() === '') continue;
      hasOwn = true;
    }
    if (!containsToken(value, [text])) headers.push(name, value);
  }
  if (!isUsed) return headers;
  if (!hasOwn) return [...headers, own, `Bearer ${subject.token.reveal()}`];
  if (route.credential.kind !== 'passthrough' && ownToken(headers, own) !== subject.token.reveal()) {
    throw invalid('has a handle and a token that differ');
  }
  return headers;
}

/** The token in a header that occurs once. */
function ownToken(headers: RawHeaders, name: string): string | undefined {
  const [value, ...more] = headerValues(headers, name);
  return value === undefined || more.length > 0 ? undefined : withoutScheme(value);
}

/** The headers whose token the route exchanges or forwards. */
function credentialHeaders({ credential, subjectToken }: Route): readonly string[] {
  return credential.kind === 'passthrough' ? ['authorization', 'dpop', subjectToken.header] : [subjectToken.header];
}

/** An agent may write any scheme, or none. */
function withoutScheme(value: string): string {
  return value.trim().replace(/^[a-z0-9-]+ +/i, '');
}

function missing({ name }: Route, facts: CambistErrorOptions = {}): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_MISSING', `route "${name}": the request of the agent has no handle`, {
    detail:
      'This request has no handle, so its user is unknown: forward the Authorization header or the baggage of the request that is being served.',
    diagnosis: {
      finding: 'handle_missing',
      cause:
        'the agent called without the handle of the request that it serves: neither Authorization nor baggage has it',
      fix:
        'let the agent forward Authorization, or instrument it with OpenTelemetry and OTEL_PROPAGATORS=tracecontext,baggage. Code in a thread ' +
        'or a queue of its own loses both, and must take them along',
    },
    ...facts,
  });
}

function invalid(why: string): CambistError {
  return new CambistError('ERR_HANDLE_INVALID', `the request of the agent ${why}`);
}
