import { agentHeaders } from '../config/agents.ts';
import type { Config } from '../config/config.ts';
import { needsCaller, type Route, readsCaller } from '../config/route.ts';

type Headers = readonly (readonly [name: string, value: string])[];

/** A request that the doctor sends through a data plane. */
export interface Probe {
  /** As in `GET /github/x without a token`. */
  readonly what: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  /** Whose issued token may arrive. */
  readonly caller: string;
  /** `same`: it passes, as without its last header. `one token`: it has two, and is refused. `no token`: it may pass without one. */
  readonly expects: 'pass' | 'same' | 'refusal' | 'one token' | 'no token' | 'either';
}

export interface ProbeFacts {
  readonly config: Config;
  readonly route: Route;
  /** The path at which agents call the route. */
  readonly path: string;
  /** The tokens of one or two callers. */
  readonly tokens: readonly string[];
  readonly agentToken: string | undefined;
  /** An invalid token. */
  readonly madeUp: string;
}

/** Headers in which a client could name another route, or the path of one. */
const NAMES = 'x-cambist-route x-route x-route-name'.split(' ');
const PATHS =
  'x-original-uri x-original-url x-rewrite-url x-envoy-original-path x-forwarded-uri x-forwarded-path x-forwarded-prefix'.split(
    ' ',
  );
/** Ends of paths that a data plane and its backend may read in different ways, or that operators exempt from checks. */
const ENDS =
  `/ // /x /x/ /./x /../x /%2e%2e/x /..%2fx /x/.. /x/..;/x /x;a=b %2fx ;x /%5cx ?x=/health /health /healthz /ready
/status /metrics /public /login /mcp /sse /favicon.ico`.split(/\s/);

/** The requests by which a run proves what a data plane does. The first shows whether the echo can be reached. */
export function throughProbes({ config, route, path, tokens, agentToken, madeUp }: ProbeFacts) {
  const { header } = route.subjectToken;
  const agent = agentHeaders(config.agents);
  const base: Headers = agentToken === undefined ? [] : [[agent[0] ?? 'x-agent-token', agentToken]];
  const carriers = [
    ...config.routes.map((each) => each.subjectToken.header),
    route.send?.header.toLowerCase() ?? 'dpop',
  ];
  const forged = [...new Set(['dpop', 'authorization', ...carriers])]
    .filter((name) => name !== header && !agent.includes(name))
    .map((name) => [name, madeUp] as const);
  const method = route.match.conditions?.methods?.[0] ?? 'GET';
  const bearer = (token: string) => [header, `Bearer ${token}`] as const;
  const refusal = needsCaller(route) ? 'refusal' : 'either';

  const probe = (what: string, headers: Headers, rest: Partial<Probe> = {}): Probe => {
    const usual = { method, path, caller: 'a client without a token', expects: refusal } as const;
    return { what, ...usual, ...rest, headers: [...base, ...headers] };
  };
  const callers = tokens.map((token, at) =>
    probe(`a request of caller ${at + 1}`, [bearer(token), ...forged], { caller: `caller ${at + 1}`, expects: 'pass' }),
  );
  const strangers = [
    probe('a request without a token', []),
    probe('a request with a made-up token', [bearer(madeUp), ...forged], { caller: 'a client with a made-up token' }),
  ];
  const [token = '', other = madeUp] = tokens;
  const first = (what: string, headers: Headers, rest: Partial<Probe>) =>
    probe(what, [bearer(token), ...headers], { caller: 'caller 1', ...rest });
  const one = { expects: readsCaller(route) ? 'one token' : 'either' } as const;
  const { name = 'no-such-route', match = { path: '/no-such-route' } } =
    config.routes.find((each) => each.name !== route.name) ?? {};
  const choices = [...NAMES.map((each) => [each, name] as const), ...PATHS.map((each) => [each, match.path] as const)];
  const preflight = [
    ['origin', 'https://app.example.com'],
    ['access-control-request-method', 'POST'],
  ] as const;
  const isAllowed = config.decisions?.preflights === 'allow';
  return {
    plain: [...callers, ...strangers, ...callers],
    // A data plane may close the connection after a refusal.
    atOnce: [...callers, ...callers, ...callers]
      .map((each): Probe => ({ ...each, expects: 'either' }))
      .concat(strangers),
    others: [
      probe('an empty token', [bearer('')]),
      first('a token twice', [bearer(token)], one),
      first('two tokens', [bearer(other)], one),
      probe('two tokens, the other one first', [bearer(other), bearer(token)], one),
      probe('two tokens in one line', [bearer(`${token}, Bearer ${other}`)], one),
      first('a copy of the token', [['x-copy', `a ${token}`]], { expects: 'either' }),
      ...choices.map(([each, value]) => first(`${each}: ${value}`, [[each, value]], { expects: 'same' })),
      probe('headers that name another route, without a token', choices),
      ...['POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'].map((each) =>
        probe(`${each} without a token`, [], { method: each }),
      ),
      probe('a preflight', preflight, { method: 'OPTIONS', expects: isAllowed ? 'no token' : refusal }),
      ...pathsAt(path).flatMap((each) => [
        probe(`${method} ${each} without a token`, [], { path: each }),
        first(`${method} ${each} of caller 1`, [], { path: each, expects: 'either' }),
      ]),
    ],
  };
}

function pathsAt(path: string): string[] {
  const base = path.replace(/\/$/, '');
  const name = base.slice(1);
  const metadata = '/.well-known/oauth-protected-resource';
  const below = [...ENDS.map((end) => base + end), `${metadata}/../..${base}/x`, `${metadata}%2f..%2f..${base}/x`];
  if (name === '') return below;
  const escaped = `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
  const spelled = `/${name} ${name.toUpperCase()} ${escaped} .${base} x/..${base} x/%2e%2e${base} x%2f..%2f${name}`;
  return [...below, ...spelled.split(' ').map((each) => `/${each}`)];
}
