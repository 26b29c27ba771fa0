import type { Route } from '../config/config.ts';
import { readsCaller } from '../config/needs-caller.ts';
import type { Inbound } from '../config/optional-sections.ts';
import { CambistError } from '../errors.ts';
import { containsToken, type ReadCaller, readCallerToken } from '../proxy/caller-tokens.ts';
import { headerValues, type RawHeaders } from '../proxy/headers.ts';
import type { Routed } from '../proxy/steps.ts';
import { BAGGAGE, handleMembers, withoutHandle } from './baggage.ts';
import { handlesIn } from './handle-text.ts';
import type { Handle, Handles } from './handles.ts';

/**
 * Reads the caller of an outbound request by its handle. The route then works as with the token itself, and no handle is
 * forwarded. A value that looks like a handle is resolved or refused on every route.
 * @param inbound returns the active config
 * @param onDetached called for a handle whose caller has no request in flight
 */
export function createHandleReader(handles: Handles, inbound: () => Inbound, onDetached: () => void): ReadCaller {
  return (routed, subjects) => {
    const { rawHeaders } = routed.request.incoming;
    const [text, ...others] = new Set(handleTexts(rawHeaders));
    if (others.length > 0) throw invalid('has two different handles');
    const handle = text === undefined ? undefined : handles.find(text);
    if (text !== undefined && handle === undefined) throw invalid('has a handle that is unknown or expired');
    if (handle?.holders === 0) onDetached();
    if (handlesIn(routed.path).length > 0) throw invalid('has a handle in its URL');
    if (!inbound().allowRawTokens) refuseRawTokens(routed, handle);
    return readCallerToken(routed, subjects, handle === undefined ? rawHeaders : resolved(routed, handle));
  };
}

/** Everything that looks like a handle in any header. A baggage member for a handle must have one. */
function handleTexts(raw: RawHeaders): string[] {
  const texts: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const value = raw[i + 1] as string;
    if (handlesIn(raw[i] as string).length > 0) throw invalid('has a handle in the name of a header');
    texts.push(...handlesIn(value));
    if (isNamed(raw[i], BAGGAGE)) texts.push(...handleMembers(value));
  }
  return texts;
}

/** Routes that read no token of a caller drop it anyway. */
function refuseRawTokens({ request, route }: Routed, handle: Handle | undefined): void {
  if (!readsCaller(route)) return;
  const { rawHeaders } = request.incoming;
  for (const name of credentialHeaders(route)) {
    for (const value of headerValues(rawHeaders, name)) {
      if (value.trim() === '' || (handle !== undefined && bareToken(value) === handle.text)) continue;
      throw invalid(
        `has a token in the header "${name}": set inbound.allow_raw_tokens if the agent has tokens of its own`,
      );
    }
  }
}

/** The headers with the caller's token in the header of the route, and without the handle. */
function resolved({ request, route }: Routed, { text, subject }: Handle): string[] {
  const { rawHeaders } = request.incoming;
  const { credentialHeaders: names } = request.active;
  const own = route.subjectToken.header;
  const headers: string[] = [];
  /** Whether the handle is where it stands for its token, and not only in a copy. */
  let isSent = false;
  /** The route's own header has a value. */
  let hasOwn = false;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    let value = rawHeaders[i + 1] as string;
    const key = name.toLowerCase();
    if (names.has(key) && bareToken(value) === text) {
      isSent = true;
      if (key !== own) continue;
      value = value.replace(text, () => subject.token.reveal());
    } else if (key === BAGGAGE) {
      isSent ||= handleMembers(value).includes(text);
      value = withoutHandle(value);
      if (value === '') continue;
    }
    if (key === own) {
      if (value.trim() === '') continue;
      hasOwn = true;
    }
    if (!containsToken(value, [text])) headers.push(name, value);
  }
  if (!isSent || !readsCaller(route)) return headers;
  if (!hasOwn) return [...headers, own, `Bearer ${subject.token.reveal()}`];
  if (route.credential.kind !== 'passthrough' && ownToken(headers, own) !== subject.token.reveal()) {
    throw invalid('has a handle and a token that differ');
  }
  return headers;
}

/** The token in a header that occurs once. */
function ownToken(headers: RawHeaders, name: string): string | undefined {
  const [value, ...more] = headerValues(headers, name);
  return value === undefined || more.length > 0 ? undefined : bareToken(value);
}

/** The headers whose token the route exchanges or forwards. */
function credentialHeaders({ credential, subjectToken }: Route): readonly string[] {
  return credential.kind === 'passthrough' ? ['authorization', 'dpop', subjectToken.header] : [subjectToken.header];
}

/** A value without its scheme. */
function bareToken(value: string): string {
  return value.trim().replace(/^[a-z0-9-]+ +/i, '');
}

function isNamed(name: string | undefined, lowerCase: string): boolean {
  return name?.length === lowerCase.length && name.toLowerCase() === lowerCase;
}

function invalid(why: string): CambistError {
  return new CambistError('ERR_HANDLE_INVALID', `the request of the agent ${why}`);
}
