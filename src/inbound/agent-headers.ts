import { headerTokens } from '../proxy/caller-tokens.ts';
import { headerValues } from '../proxy/headers.ts';
import { upstreamHeaders } from '../proxy/request-headers.ts';
import type { Routed } from '../proxy/steps.ts';
import { addressedAuthority } from '../routing/request-target.ts';
import { BAGGAGE, repeatsSecret, withHandle, withoutSecrets } from './baggage.ts';
import { handlesIn } from './handle-text.ts';

export interface Replacement {
  readonly handle: string;
  /** The handle in baggage, if `inbound.baggage` is on. */
  readonly inBaggage: string | undefined;
  /** Alternating names and values. */
  readonly claims: readonly string[];
}

/**
 * Builds the headers that the agent gets. No header contains the caller's token, or a handle that the caller sent: a caller that
 * stole a handle must not make the agent use it.
 * @param reserved names of headers that no caller can send, in lower case and with dashes for underscores
 * @param replacement undefined on an open path
 */
export function agentHeaders(
  { request, route }: Routed,
  reserved: ReadonlySet<string>,
  replacement: Replacement | undefined,
): string[] {
  const { rawHeaders } = request.incoming;
  const tokens = headerTokens(rawHeaders, request.active.credentialHeaders);
  const baggage = headerValues(rawHeaders, BAGGAGE);
  // Agents build URLs from the name by which they were called.
  const addressed = addressedAuthority(request.url, headerValues(rawHeaders, 'host')) ?? '';
  const host = addressed === '' || repeatsSecret(addressed, tokens) ? route.upstream.host : addressed;
  const rules = { host, withheld: reserved, callerTokens: tokens, requestId: request.record.id };
  const own = replacement === undefined ? [] : ['authorization', `Bearer ${replacement.handle}`, ...replacement.claims];
  if (replacement?.inBaggage !== undefined) {
    own.push(BAGGAGE, withHandle(baggage, replacement.inBaggage, tokens));
  } else {
    const kept = baggage.map((value) => withoutSecrets(value, tokens)).filter((value) => value !== '');
    own.push(...kept.flatMap((value) => [BAGGAGE, value]));
  }
  // An agent that reads a limited number of headers then still reads these.
  const [name, value, ...others] = upstreamHeaders(rawHeaders, rules);
  return [name as string, value as string, ...own, ...withoutHandles(others)];
}

/** Returns the same list if no header has a handle, as in most requests. */
function withoutHandles(headers: readonly string[]): readonly string[] {
  if (!headers.some((text) => handlesIn(text).length > 0)) return headers;
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const header = headers.slice(i, i + 2);
    if (!header.some((text) => handlesIn(text).length > 0)) kept.push(...header);
  }
  return kept;
}
