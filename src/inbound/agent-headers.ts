import { headerTokens } from '../proxy/caller-tokens.ts';
import { headerValues } from '../proxy/headers.ts';
import { upstreamHeaders } from '../proxy/request-headers.ts';
import type { Routed } from '../proxy/steps.ts';
import { addressedAuthority } from '../routing/request-target.ts';
import { BAGGAGE, withHandle, withoutHandle } from './baggage.ts';

/** Stands for the caller's token in the headers for the agent. */
export interface Replacement {
  /** Text of the handle. */
  readonly handle: string;
  /** Alternating names and values. */
  readonly claims: readonly string[];
}

/**
 * Builds the headers that the agent gets. No header contains the caller's token.
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
  const headers = upstreamHeaders(rawHeaders, {
    // Agents build URLs from the name by which they were called.
    host: addressedAuthority(request.url, headerValues(rawHeaders, 'host')) ?? route.upstream.host,
    withheld: reserved,
    callerTokens: tokens,
    requestId: request.id,
  });
  if (replacement === undefined) {
    const kept = baggage.map(withoutHandle).filter((value) => value !== '');
    return [...headers, ...kept.flatMap((value) => [BAGGAGE, value])];
  }
  const { handle, claims } = replacement;
  return [...headers, 'authorization', `Bearer ${handle}`, BAGGAGE, withHandle(baggage, handle, tokens), ...claims];
}
