import type { Inbound } from '../config/inbound.ts';
import type { ActiveConfig } from '../proxy/active-config.ts';
import { OVERRIDES, withDashes } from '../proxy/request-headers.ts';
import { claimsOf } from '../tokens/subject.ts';
import { BAGGAGE } from './baggage.ts';
import { claimHeaders } from './claim-headers.ts';
import type { Handle } from './handles.ts';

/** The rules of `inbound` under one config. */
export interface InboundRules {
  readonly inbound: Inbound;
  /** Lower-case names, with dashes for underscores, of the headers that no caller can send. */
  readonly reserved: ReadonlySet<string>;
  /** The claims that the agent gets, as alternating header names and values. */
  claimsFor(handle: Handle): readonly string[];
}

const NONE: readonly string[] = [];

/** Makes the rules of a config once. */
export function createInboundRules(): (active: ActiveConfig) => InboundRules {
  const known = new WeakMap<ActiveConfig, InboundRules>();
  return (active) => {
    let rules = known.get(active);
    if (rules === undefined) {
      rules = rulesOf(active);
      known.set(active, rules);
    }
    return rules;
  };
}

function rulesOf({ config: { inbound }, withheld }: ActiveConfig): InboundRules {
  if (inbound === undefined) throw new Error('the config has no inbound section');
  /** By the claims of the last introspection, or else by the handle: a token always states the same. */
  const claims = new WeakMap<object, readonly string[]>();
  const names = inbound.claims.map(([header]) => withDashes(header));
  return {
    inbound,
    // With an override header, a request could take an open path and reach what another path is for.
    reserved: new Set([...withheld.common, BAGGAGE, ...names, ...(inbound.open.length > 0 ? OVERRIDES : [])]),
    claimsFor(handle) {
      if (names.length === 0) return NONE;
      const key = handle.subject.introspected ?? handle;
      let headers = claims.get(key);
      if (headers === undefined) {
        headers = claimHeaders(claimsOf(handle.subject), inbound.claims);
        claims.set(key, headers);
      }
      return headers;
    },
  };
}
