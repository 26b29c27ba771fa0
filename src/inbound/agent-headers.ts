import { containsToken, headerTokens } from '../proxy/caller-tokens.ts';
import { headerValues, type RawHeaders } from '../proxy/headers.ts';
import { upstreamHeaders } from '../proxy/request-headers.ts';
import type { Routed } from '../proxy/steps.ts';
import { addressedAuthority } from '../routing/request-target.ts';
import { BAGGAGE, withHandle, withoutHandle } from './baggage.ts';
import { handlesIn } from './handle-text.ts';

/** Stands for the caller's token in the headers for the agent. */
export interface Replacement {
  /** Text of the handle. */
  readonly handle: string;
  /** The handle in baggage. Undefined: baggage has none. */
  readonly inBaggage: string | undefined;
  /** Alternating names and values. */
  readonly claims: readonly string[];
}

/**
 * Builds the headers that the agent gets. No header contains the caller's token, or a handle that the caller sent.
 * @param reserved names of headers that no caller can send, in lower case and with dashes for underscores
 * @param replacement undefined on an open path
 */
export function agentHeaders(
  { request, route }: Routed,
  reserved: ReadonlySet<string>,
  replacement: Replacement | undefined,
): string[] {
  const rawHeaders = withoutHandles(request.incoming.rawHeaders);
  const tokens = headerTokens(rawHeaders, request.active.credentialHeaders);
  const baggage = headerValues(rawHeaders, BAGGAGE);
  const headers = upstreamHeaders(rawHeaders, {
    // Agents build URLs from the name by which they were called.
    host: addressedAuthority(request.url, headerValues(rawHeaders, 'host')) ?? route.upstream.host,
    withheld: reserved,
    callerTokens: tokens,
    requestId: request.id,
  });
  if (replacement !== undefined) headers.push('authorization', `Bearer ${replacement.handle}`, ...replacement.claims);
  if (replacement?.inBaggage === undefined) {
    const kept = baggage.map(withoutHandle).filter((value) => value !== '' && !containsToken(value, tokens));
    headers.push(...kept.flatMap((value) => [BAGGAGE, value]));
  } else {
    headers.push(BAGGAGE, withHandle(baggage, replacement.inBaggage, tokens));
  }
  return headers;
}

/** A caller that stole a handle must not make the agent use it. Most requests have none. */
function withoutHandles(raw: RawHeaders): RawHeaders {
  if (!raw.some((text) => handlesIn(text).length > 0)) return raw;
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const [name, value] = [raw[i] as string, raw[i + 1] as string];
    if (handlesIn(value).length === 0) kept.push(name, value);
  }
  return kept;
}
