import * as z from 'zod';
import type { ListenerFiles } from './addresses.ts';
import { agents } from './agents.ts';
import { audit } from './audit.ts';
import { type AuthorizationServer, authorizationServer } from './authorization-server.ts';
import { decisionListeners, decisions } from './decisions.ts';
import { inbound } from './inbound.ts';
import { intercept } from './intercept.ts';
import {
  type Keys,
  mapKey,
  optionalSection,
  propertyOf,
  required,
  schemaOf,
  section,
  type Values,
  valueKey,
  type Written,
} from './key.ts';
import { choice, count, duration, flag, headerName, list, size, word } from './kinds.ts';
import { address } from './listen.ts';
import { readConnectAuthority, readHostPattern, readInteractionHost } from './match.ts';
import { routeSchema, type WrittenRoute } from './resolve-route.ts';
import type { Route } from './route.ts';
import { ROUTE_KEYS, type WrittenRouteKeys } from './route-keys.ts';
import { sharedCache } from './shared-cache.ts';
import { signals } from './signals.ts';
import { routesFrom, type Team } from './teams.ts';

/** From the fewest lines to the most. */
export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const SOCKET_MODE_FORM = 'must be octal permissions in quotes, as in "0660" or "0600"';

const log = section('Log on standard output.', {
  level: choice(LOG_LEVELS, 'Lowest level that is written.', { default: 'info', page: 'log.md' }),
  sample: valueKey(
    z.number().min(0).max(1),
    'number from 0 to 1',
    'Share of successful requests that are logged, from 0 to 1. All other lines are always written.',
    { default: 1, page: 'log.md#sampling' },
    (written: number) => written,
  ),
});

const cache = section('Cache of issued tokens.', {
  // An issued token takes about 2 KiB.
  max_entries: count(1_000_000, 'Most issued tokens in the cache.', {
    default: 10_000,
    page: 'cache.md#fairness-among-callers',
  }),
  max_age: duration('Longest time that an issued token is reused, whatever its own expiry.', {
    default: '5m',
    min: '1s',
    max: '24h',
    page: 'cache.md#how-long-a-token-is-reused',
  }),
  shared: sharedCache,
});

const limits = section(
  'Limits of cambist.',
  {
    max_in_flight: count(
      1_000_000,
      'Most requests in flight, open streams included. At the limit, a request whose body is incomplete gives way to a new one. Otherwise, further requests get 503.',
      { default: 10_000 },
    ),
    max_in_flight_per_upstream: count(
      1_000_000,
      'Most requests in flight to one upstream, over all its routes. Tunnels are counted by authority. Further requests get 503. By default, three quarters of `max_in_flight`, so that one backend that hangs leaves room for the others. With only one upstream, all of it.',
      { without: 'see right' },
    ),
    max_connections: count(
      2_000_000,
      'Most connections from agents. A further one takes the place of an idle one, or is closed at once if all are busy. If none is idle, one whose request is incomplete gives way. By default, twice `max_in_flight`, at least 1000. At most three eighths of the files that the process may open (`ulimit -n`), shared with `inbound` and `intercept.listen`; the log says when this lowers a value of the file. The admin listener accepts 256.',
      { without: 'see right' },
    ),
    max_header_size: size(
      'Largest size of the request line and all headers, from 1KiB to 1MiB. A larger request gets 431.',
      { default: '32KiB', min: '1KiB', max: '1MiB', restart: 'change' },
    ),
    shutdown_grace: duration(
      'Time for requests in flight to finish after SIGTERM, and for replicas to learn of revocations. Keep it below `terminationGracePeriodSeconds` of the pod.',
      { default: '25s', max: '1h', page: 'signals.md#replicas' },
    ),
  },
  {
    check({ maxInFlight = 0, maxInFlightPerUpstream, maxConnections }, { node }) {
      if (maxInFlightPerUpstream !== undefined && maxInFlightPerUpstream > maxInFlight) {
        node.at('max_in_flight_per_upstream').error(`must be at most limits.max_in_flight, ${maxInFlight}`);
      }
      if (maxConnections !== undefined && maxConnections < maxInFlight) {
        node.at('max_connections').warn(`is below limits.max_in_flight, ${maxInFlight}: connections are dropped first`);
      }
    },
  },
);

export const KEYS = {
  $schema: valueKey(z.string(), 'text', 'Schema for editors. cambist ignores it.', {}, (written: string) => written),
  version: required(valueKey(z.literal(1), '`1`', 'Always 1, the format of the file.', {}, (written: 1) => written)),
  listen: address('Address that agents connect to: `host:port` or `unix:/path`.', {
    default: '127.0.0.1:8180',
    restart: 'change',
  }),
  admin: address(
    'Address of metrics, health and status page: `host:port` or `unix:/path`. In a pod use `0.0.0.0:9180`, because Prometheus and the kubelet connect from outside.',
    { default: '127.0.0.1:9180', restart: 'change' },
  ),
  socket_mode: valueKey(
    z.string({ error: SOCKET_MODE_FORM }).regex(/^0?[67][0-7]{2}$/, { error: SOCKET_MODE_FORM }),
    'octal text',
    'Permissions of the Unix sockets of all listeners, octal, in quotes.',
    { default: '0660', examples: ['0600'], restart: 'change', page: 'listeners.md#unix-sockets' },
    (written: string) => Number.parseInt(written, 8),
  ),
  admin_hosts: list(
    'Host names by which clients reach `admin`. Addresses and localhost always work, and internal names for all that other machines may read.',
    { examples: [['cambist.example.com']], form: 'list of host names', page: 'status-page.md#access' },
    (written) => {
      const host = readHostPattern(written);
      const isWildcard = 'value' in host && host.value.startsWith('*.');
      return isWildcard ? { problem: 'must be one host name, without a wildcard' } : host;
    },
  ),
  log,
  audit,
  tracing: section('Content of spans. The standard variables of OpenTelemetry turn tracing on.', {
    mcp: flag('Add `mcp.method.name`, `gen_ai.tool.name` and other names from MCP messages to spans.', {
      default: false,
      page: 'traces.md#spans',
    }),
  }),
  interaction: optionalSection('Consent of users at authorization servers.', {
    hosts: required(
      list(
        'Hosts, or `host:port`, whose https URLs an authorization server may send a user to for consent. Other URLs never reach a caller.',
        { examples: [['example.okta.com']], form: 'list of hosts', page: 'third-party.md#consent', without: 'none' },
        readInteractionHost,
      ),
    ),
  }),
  host_header: headerName('Header whose host replaces that of the request, if present, such as `x-kagent-host`.', {
    examples: ['x-kagent-host'],
  }),
  authorization_servers: mapKey(
    /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
    'the name of an authorization server must consist of letters, digits, ".", "_" and "-", at most 63',
    'Authorization servers by name. Metrics and logs use the name.',
    authorizationServer,
    { form: 'map of name → [server](#keys-authorization-server)' },
  ),
  session: section('Definition of a session, beside its subject token.', {
    header: headerName('Header with the session id. A session is always bound to the subject token as well.', {
      default: 'mcp-session-id',
      page: 'cache.md#sessions',
    }),
  }),
  cache,
  limits,
  forward_proxy: section('Destinations beside the routes, for agents whose HTTP_PROXY is cambist.', {
    connect: list(
      'Authorities, `host:port`, that CONNECT may open an opaque tunnel to, without any token. The host may be `*.suffix`, or `*` for any public name.',
      {
        examples: [['api.example.com:443', '*.example.org:443']],
        form: 'list of `host:port`',
        page: 'routing.md#connect',
      },
      readConnectAuthority,
    ),
  }),
  inbound,
  decisions,
  signals,
  agents,
  intercept,
  spiffe: optionalSection(
    'Identity of cambist by the SPIFFE Workload API.',
    {
      socket: required(
        word(
          /^unix:\/\/\/[!-~]{1,100}$/,
          'must be "unix://" and the absolute path of a socket, as in unix:///run/spire/agent/public/api.sock',
          'Socket of the SPIFFE agent.',
          { form: '`unix:///path`', examples: ['unix:///run/spire/agent/public/api.sock'], page: 'spiffe.md' },
        ),
      ),
    },
    { restart: 'change' },
  ),
  defaults: valueKey(
    schemaOf(ROUTE_KEYS),
    '[route keys](#keys-route)',
    'Route keys for all routes that do not set them.',
    {},
    (written: WrittenRouteKeys) => written,
  ),
  routes: valueKey(
    z.array(routeSchema).min(1),
    'list of [routes](#keys-route)',
    'Backends, in any order.',
    { without: 'required, unless teams have all of them' },
    (written: readonly (WrittenRoute | undefined)[]) => written,
  ),
  routes_from: routesFrom,
};

/** Schema of the file. Reading the values checks what a JSON Schema cannot express. */
export const configSchema = schemaOf(KEYS).meta({
  $id: 'https://cambist.dev/config/v1/schema.json',
  title: 'cambist config',
  description: 'The config file of cambist, in YAML or JSON.',
});

/** The JSON Schema (draft 2020-12) of the config file, for editors. */
export function jsonSchema(): Record<string, unknown> {
  const { $schema, $id, title, description, ...rest } = z.toJSONSchema(configSchema, {
    target: 'draft-2020-12',
    io: 'input',
  });
  const anyOf = [{ required: ['routes'] }, { required: ['routes_from'] }];
  return { $schema, $id, title, description, ...rest, anyOf };
}

/** A checked file without the parts that have errors. Any part may be missing. */
export type ConfigFile = Written<typeof KEYS>;

type Top = Values<typeof KEYS>;

/**
 * The config as the rest of cambist uses it: defaults merged, durations in milliseconds, sizes in bytes, URLs split,
 * references resolved. `load.ts` makes it from a file. It never changes afterwards. A section that is undefined is off.
 */
export interface Config
  extends Omit<Top, '$schema' | 'version' | 'interaction' | 'defaults' | 'limits' | 'authorizationServers' | 'routes'> {
  /** As it was written. A URL, a parameter or a name in it may be a secret. */
  readonly file: { readonly content: ConfigFile; readonly folder: string };
  readonly limits: Readonly<Record<keyof Top['limits'], number>> & {
    /** The process's limit of open files, where `maxConnections` is lowered to it. */
    readonly cappedByFiles?: number | undefined;
  };
  readonly authorizationServers: readonly AuthorizationServer[];
  /** Those of the main file, and those of teams. */
  readonly routes: readonly Route[];
  /** The owners of regions. */
  readonly teams: readonly Team[];
}

/** The listeners with TLS files, by their keys. */
export function tlsListeners({
  listen,
  admin,
  inbound,
  signals,
  decisions,
}: Config): { name: string; tls: ListenerFiles }[] {
  const all = {
    listen,
    admin,
    'inbound.listen': inbound?.listen,
    'signals.listen': signals?.listen,
    ...decisionListeners(decisions),
  };
  return Object.entries(all).flatMap(([name, address]) =>
    address?.kind === 'tcp' && typeof address.tls === 'object' ? [{ name, tls: address.tls }] : [],
  );
}

/** The changed keys that take effect at the next restart. */
export function restartKeys(before: Config, after: Config): string[] {
  return changedKeys(KEYS, before, after, '');
}

/** Where a whole section needs a restart, or is new or gone, its keys say nothing more. */
function changedKeys(keys: Keys, before: unknown, after: unknown, path: string): string[] {
  return Object.entries(keys).flatMap(([name, key]) => {
    const [old, current] = [before, after].map(
      (values) => (values as Record<string, unknown> | undefined)?.[propertyOf(name, key)],
    );
    const { restart } = key.about;
    if (restart === undefined && key.keys === undefined) return [];
    const hasChanged = JSON.stringify(old) !== JSON.stringify(current);
    if (restart === 'change') return hasChanged ? [path + name] : [];
    if (restart === 'presence' && (old === undefined) !== (current === undefined)) return [path + name];
    return key.keys === undefined || !hasChanged ? [] : changedKeys(key.keys, old, current, `${path}${name}.`);
  });
}
