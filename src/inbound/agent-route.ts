import type { Config } from '../config/config.ts';
import type { Inbound } from '../config/inbound.ts';
import type { Route } from '../config/route.ts';
import { DEFAULT_CONNECT, DEFAULT_STALL } from '../config/route-keys.ts';
import { defaultDuration } from '../config/units.ts';
import { DEFAULT_SUBJECT_HEADER } from '../config/verification.ts';
import { type ActiveConfig, activate } from '../proxy/active-config.ts';

/** Stands for the agent in the log and in spans. No route of a config can have this name. */
export const INBOUND = '_inbound';

/** The agent as the only route of a config. It sends no issued token, and its callers are verified. */
export function activateInbound(config: Config, inbound: Inbound): ActiveConfig {
  const { maxInFlight } = config.limits;
  return activate({
    ...config,
    agents: undefined,
    hostHeader: undefined,
    forwardProxy: { connect: [] },
    intercept: undefined,
    limits: { ...config.limits, maxInFlightPerUpstream: maxInFlight },
    routes: [agentRoute(inbound)],
    teams: [],
  });
}

function agentRoute({ agent, verify }: Inbound): Route {
  return {
    name: INBOUND,
    match: { host: undefined, path: '/', conditions: undefined },
    upstream: agent,
    subjectToken: { header: DEFAULT_SUBJECT_HEADER, type: '', own: undefined, verify, scope: undefined },
    credential: { kind: 'none' },
    send: undefined,
    consent: undefined,
    timeouts: {
      connectMs: defaultDuration(DEFAULT_CONNECT),
      responseHeadersMs: 0,
      stallMs: defaultDuration(DEFAULT_STALL),
    },
    retryBodyLimitBytes: 0,
    stepUp: [],
    allowedOrigins: [],
    tls: undefined,
    unattended: undefined,
    agents: [],
  };
}
