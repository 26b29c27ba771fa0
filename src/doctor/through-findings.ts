import { carrierOf, type Route } from '../config/route.ts';
import { readClaims } from '../tokens/token-text.ts';
import { usesCallerToken } from './check-subject.ts';
import { type Finding, type FindingCode, fine, problem, shortAscii } from './finding.ts';
import type { Probe } from './through-probes.ts';

/** A request that came through the data plane. */
export interface Arrival {
  readonly target: string;
  /** Names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/** A probe, the response to it, and what arrived of it: more than one request if the data plane retries. */
export interface Outcome {
  readonly probe: Probe;
  /** The status, or the code of an error. */
  readonly status: string;
  /** The code of cambist in the response. */
  readonly refusal: string | undefined;
  readonly arrivals: readonly Arrival[];
}

/** Mistakes of the data plane: their effect, the cause, and how to correct them there. */
const MISTAKES = {
  caller_token_forwarded: [
    'a token that the client sent reaches the backend',
    'the data plane forwards the header of the client, because it does not take that of the decision',
    `replace the header, and drop all others that carry credentials: allowed_upstream_headers (Envoy), headersToBackend (Envoy Gateway),
headersToUpstreamOnAllow (Istio), authResponseHeaders (Traefik), auth_request_set and proxy_set_header (nginx), request_header in
handle_response (Caddy), req_set_header in cambist.lua (HAProxy)`,
  ],
  issued_token_missing: [
    'requests reach the backend without the issued token',
    'the data plane does not copy it from the decision, or a later filter removes it',
    `let cambist decide last, and copy the header: jwt_authn removes Authorization without forward (Envoy) or forwardOriginalToken (Istio),
agentgateway with jwtAuthentication, WSO2 in a later phase, and the MCP proxy of Envoy AI Gateway without forwardHeaders`,
  ],
  issued_token_shared: [
    'a client gets the token of another one',
    'a cache of the data plane keeps decisions, and its key lacks the token of the client; or both tokens are of one user',
    'keep no decision: no proxy_cache where nginx asks, and no cache of ext_authz in agentgateway or Higress; name tokens of two users',
  ],
  undecided_request_passed: [
    'requests pass without a decision',
    'the data plane does not ask about them, ignores the response, or keeps decisions; or the authorization server accepts made-up tokens',
    `ask about every path and method, and refuse without a response: no "auth_request off" or error_page to the backend (nginx), no disabled,
failure_mode_allow or failOpen (Envoy, Envoy Gateway), no router, handle or rule without the check (Traefik, Caddy, HAProxy)`,
  ],
  duplicate_token_passed: [
    'requests with two tokens pass',
    'cambist and the backend may read different ones',
    'refuse a repeated header, or send it to cambist as it came (encode_raw_headers of Envoy)',
  ],
  client_chose_route: [
    'a header of the client changes the decision',
    'the data plane takes the name or path of the route from the client',
    'write the name of the route into the config of the data plane, and set X-Original-* and X-Forwarded-* there',
  ],
  echo_not_reached: [
    'requests of callers did not reach the echo, so nothing is proved',
    'the data plane forwards to another backend, refuses the caller, or cannot reach cambist or the echo',
    'give --through the URL that agents call, point the backend of the route at the echo, and try the token without --through',
  ],
  cambist_not_stopped: [
    'cambist still decides',
    'an instance of cambist runs, or the data plane keeps decisions',
    'stop every instance that the data plane asks',
  ],
} as const satisfies Partial<Record<FindingCode, readonly [says: string, why: string, fix: string]>>;

type Mistake = keyof typeof MISTAKES;

/**
 * Judges what arrived of the probes, the plain ones first.
 * @param strays requests without a mark of this run, which may carry its tokens
 * @param sent every token that was sent
 */
export function throughFindings(
  outcomes: readonly Outcome[],
  strays: readonly Arrival[],
  sent: readonly string[],
  { route, isStopped }: { readonly route: Route; readonly isStopped: boolean },
): Finding[] {
  const carrier = carrierOf(route);
  const seen = new Map<Mistake, Set<string>>();
  const note = (mistake: Mistake, what: string): void => {
    seen.set(mistake, (seen.get(mistake) ?? new Set()).add(what));
  };
  const owners = new Map<string, string>();
  const purposes = new Set<string>();

  function noteLeak({ target, headers, body }: Arrival, what: string): boolean {
    const places = [['the URL', target], ['the body', body], ...headers] as const;
    const found = places.filter(([, text]) => sent.some((token) => text.includes(token)));
    for (const [place] of found) note('caller_token_forwarded', `${what} (${place})`);
    return found.length > 0;
  }

  function judgeArrival({ what, caller, expects }: Probe, arrival: Arrival): void {
    const isLeak = noteLeak(arrival, what);
    const credentials = arrival.headers.filter(([name]) => name === carrier);
    const [token = '', ...more] = isLeak ? [] : credentials.map(([, text]) => text.replace(/^bearer\b */i, ''));
    if (isStopped) note(token === '' ? 'undecided_request_passed' : 'cambist_not_stopped', what);
    else if (expects === 'one token') note('duplicate_token_passed', what);
    else if (expects === 'refusal') note('undecided_request_passed', what);
    if (isStopped || isLeak || carrier === undefined || expects === 'one token') return;
    if (token === '' || more.length > 0) {
      if (expects !== 'refusal' && expects !== 'no token') note('issued_token_missing', what);
      return;
    }
    const owner = owners.get(token) ?? caller;
    owners.set(token, owner);
    if (usesCallerToken(route) && owner !== caller) note('issued_token_shared', `${what} has the token of ${owner}`);
    const purpose = purposeOf(token);
    if (expects === 'pass') purposes.add(purpose);
    // Opaque tokens that cambist does not keep differ in any case.
    if (expects === 'same' && purposes.size <= MAX_CALLERS && !purposes.has(purpose)) note('client_chose_route', what);
  }

  function judgeRefusal({ probe: { what, expects, path }, status, refusal }: Outcome): void {
    const seenAs = `${what}: ${refusal ?? status}`;
    if (isStopped) {
      if (refusal !== undefined) note('cambist_not_stopped', seenAs);
      else if (expects === 'pass' && !/^(?:401|403|5..)$/.test(status)) note('echo_not_reached', seenAs);
    } else if (expects === 'pass') note('echo_not_reached', seenAs);
    // A data plane may refuse a header by a rule of its own, with 400.
    else if (expects === 'same' && status !== '400')
      note(/^4(?!29)/.test(status) ? 'client_chose_route' : 'echo_not_reached', seenAs);
    else if (expects === 'refusal' && path === outcomes[0]?.probe.path && /^[23]/.test(status))
      note('undecided_request_passed', `${seenAs}, from a cache or another backend`);
  }

  for (const stray of strays) noteLeak(stray, 'a request without the mark of this run');
  for (const outcome of outcomes) {
    for (const arrival of outcome.arrivals) judgeArrival(outcome.probe, arrival);
    if (outcome.arrivals.length === 0) judgeRefusal(outcome);
  }
  const problems = [...seen].map(([mistake, whats]) => {
    const [says, why, fix] = MISTAKES[mistake];
    const rest = whats.size > MAX_SHOWN ? `; and ${whats.size - MAX_SHOWN} more` : '';
    const shown = shortAscii([...whats].slice(0, MAX_SHOWN).join('; '));
    return problem(mistake, `${says}: ${shown}${rest}`, { why, fix: fix.replaceAll('\n', ' ') });
  });
  if (problems.length > 0) return problems;
  const passed = outcomes.filter(({ arrivals }) => arrivals.length > 0).length;
  const proof = isStopped
    ? `nothing passes while cambist is stopped, and callers get ${outcomes[0]?.status}`
    : `${passed} pass, with the token issued to their caller and no other; no header of a client chooses the route`;
  return [fine('through_proved', `of ${outcomes.length} requests, ${proof}`)];
}

const MAX_SHOWN = 4;
const MAX_CALLERS = 2;

/** Two tokens with one purpose are for one route. */
function purposeOf(token: string): string {
  const claims = readClaims(token);
  return claims === undefined ? token : JSON.stringify([claims.iss, claims.aud, claims.scope]);
}
