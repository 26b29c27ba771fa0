import { createHistogram, expect, type Histogram, type Tally } from './counters.ts';
import type { Outcome } from './proxy-observer.ts';

/** The protocol by which a data plane asks. `grpc` is a check, as by Envoy's ext_authz. */
export type DecisionProtocol = 'http' | 'grpc' | 'ext_proc';

/** `denied`: the data plane did not send the secret. `cancelled`: it did not wait. */
const RESULTS = ['allowed', 'refused', 'failed', 'cancelled', 'denied'] as const;
type DecisionResult = (typeof RESULTS)[number];

export interface DecisionCounts {
  readonly results: Tally<DecisionResult>;
  /** Seconds from the arrival of a question to its response. */
  readonly durations: Histogram;
}

/** 0.2 is the default time limit of Envoy. */
const DURATION_BOUNDS = [0.001, 0.005, 0.025, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30];

export function createDecisionCounts(): DecisionCounts {
  return { results: expect({}, RESULTS), durations: createHistogram(DURATION_BOUNDS) };
}

/** A preflight is allowed as well. */
export function resultOf(outcome: Outcome): DecisionResult {
  return outcome === 'forwarded' || outcome === 'responded' ? 'allowed' : outcome;
}
