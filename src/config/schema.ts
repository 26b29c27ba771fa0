import * as z from 'zod';
import { LISTEN_FORM } from './addresses.ts';
import { DEFAULTS } from './defaults.ts';
import { LOG_LEVELS } from './log-levels.ts';
import { audit } from './schema-audit.ts';
import { authorizationServer } from './schema-authorization-server.ts';
import { inbound } from './schema-inbound.ts';
import { defaults, route } from './schema-route.ts';
import { sharedCache } from './schema-shared-cache.ts';
import { signals } from './schema-signals.ts';
import { choice, count, duration, fileSource, flag, headerName, list, size, text } from './schema-values.ts';

const log = z
  .strictObject({
    level: choice(LOG_LEVELS, 'Lowest level that is written.', { default: DEFAULTS.logLevel }).optional(),
    sample: z
      .number()
      .min(0)
      .max(1)
      .meta({
        description: 'Share of successful requests that are logged, from 0 to 1. All other lines are always written.',
        default: DEFAULTS.logSample,
      })
      .optional(),
  })
  .meta({ description: 'Log on standard output.' });

const tracing = z
  .strictObject({
    mcp: flag('Add `mcp.method.name`, `gen_ai.tool.name` and other names from MCP messages to spans.', {
      default: DEFAULTS.tracingMcp,
    }).optional(),
  })
  .meta({ description: 'Content of spans. The standard variables of OpenTelemetry turn tracing on.' });

const session = z
  .strictObject({
    header: headerName('Header with the session id. A session is always bound to the subject token as well.', {
      default: DEFAULTS.sessionHeader,
    }).optional(),
  })
  .meta({ description: 'Definition of a session, beside its subject token.' });

const cache = z
  .strictObject({
    max_entries: count(1_000_000, 'Most issued tokens in the cache.', { default: DEFAULTS.maxEntries }).optional(),
    max_age: duration('Longest time that an issued token is reused, whatever its own expiry.', {
      default: DEFAULTS.maxAge,
    }).optional(),
    shared: sharedCache.optional(),
  })
  .meta({ description: 'Cache of issued tokens.' });

const limits = z
  .strictObject({
    max_in_flight: count(1_000_000, 'Most requests in flight, open streams included.', {
      default: DEFAULTS.maxInFlight,
    }).optional(),
    max_in_flight_per_upstream: count(
      1_000_000,
      'Most requests in flight to one upstream, over all its routes. By default, three quarters of `max_in_flight`, or all of it if there is only one upstream.',
    ).optional(),
    max_connections: count(
      2_000_000,
      'Most connections from agents. A further one takes the place of an idle one. By default, twice `max_in_flight`, at least 1000.',
    ).optional(),
    max_header_size: size('Largest size of all request headers, at most 1MiB.', {
      default: DEFAULTS.maxHeaderSize,
    }).optional(),
    shutdown_grace: duration('Time for requests in flight to finish after SIGTERM.', {
      default: DEFAULTS.shutdownGrace,
    }).optional(),
  })
  .meta({ description: 'Limits of cambist.' });

const forwardProxy = z
  .strictObject({
    connect: list(
      'Authorities, `host:port`, that CONNECT may open an opaque tunnel to, without any token. The host may be `*.suffix`, or `*` for any public name.',
      { examples: [['api.example.com:443', '*.example.org:443']] },
    ).optional(),
  })
  .meta({ description: 'Destinations beside the routes, for agents whose HTTP_PROXY is cambist.' });

const interaction = z
  .strictObject({
    hosts: z
      .array(z.string())
      .min(1)
      .max(100)
      .meta({
        description:
          'Hosts, or `host:port`, whose https URLs an authorization server may send a user to for consent. Other URLs never reach a caller.',
        examples: [['example.okta.com']],
      }),
  })
  .meta({ description: 'Consent of users at authorization servers.' });

const folder = (description: string, more?: { default: string }) =>
  z
    .string()
    .regex(/^[^\0]+$/, { error: 'must be the path of a folder' })
    .meta({ description, ...more });

const CA_FORM = 'must be ephemeral, { dir: /path }, or { certificate: { file: … }, private_key: { file: … } }';

const intercept = z
  .strictObject({
    ca: z
      .union(
        [
          z.literal('ephemeral'),
          z.strictObject({ dir: folder('Folder of the authority, for cambist alone.') }),
          z.strictObject({
            certificate: fileSource('PEM: certificate of the authority.'),
            private_key: fileSource('PEM: private key of `certificate`.'),
          }),
        ],
        { error: CA_FORM },
      )
      .meta({
        description:
          'Certificate authority: made at each start, made once in a folder (`dir`), or read from files (`certificate`, `private_key`).',
        default: DEFAULTS.interceptCa,
      })
      .optional(),
    trust_dir: folder('Folder for the files that make agents trust the authority.', {
      default: DEFAULTS.trustDir,
    }).optional(),
    listen: z
      .array(text('Address: `host:port`.', {}, LISTEN_FORM))
      .max(100)
      .meta({
        description: 'Addresses where connections arrive that names or packets lead here, instead of a proxy variable.',
        examples: [['127.0.0.1:443', '127.0.0.1:80']],
      })
      .optional(),
  })
  .meta({ description: 'Terminates TLS from agents, for the hosts of routes.' });

const SOCKET_MODE_FORM = 'must be octal permissions in quotes, as in "0660" or "0600"';

/** Schema of the config file. `resolve.ts` checks what a JSON Schema cannot express. */
export const configSchema = z
  .strictObject({
    $schema: z.string().meta({ description: 'Schema for editors. cambist ignores it.' }).optional(),
    version: z.literal(1).meta({ description: 'Always 1, the format of the file.' }),
    listen: text(
      'Address that agents connect to: `host:port` or `unix:/path`.',
      { default: DEFAULTS.listen },
      LISTEN_FORM,
    ).optional(),
    admin: text(
      'Address of metrics, health and status page: `host:port` or `unix:/path`.',
      { default: DEFAULTS.admin },
      LISTEN_FORM,
    ).optional(),
    socket_mode: z
      .string({ error: SOCKET_MODE_FORM })
      .regex(/^0?[67][0-7]{2}$/, { error: SOCKET_MODE_FORM })
      .meta({
        description: 'Permissions of the Unix sockets of all listeners, octal, in quotes.',
        default: DEFAULTS.socketMode,
        examples: ['0600'],
      })
      .optional(),
    admin_hosts: list(
      'Host names by which clients reach `admin`. Addresses and localhost always work, and internal names for all that other machines may read.',
      {
        examples: [['cambist.example.com']],
      },
    ).optional(),
    log: log.optional(),
    audit: audit.optional(),
    tracing: tracing.optional(),
    interaction: interaction.optional(),
    host_header: headerName('Header whose host replaces that of the request, if present.', {
      examples: ['x-kagent-host'],
    }).optional(),
    authorization_servers: z
      .record(
        z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/, {
          error: 'the name of an authorization server must consist of letters, digits, ".", "_" and "-", at most 63',
        }),
        authorizationServer,
      )
      .meta({ description: 'Authorization servers by name. Metrics and logs use the name.' })
      .optional(),
    session: session.optional(),
    cache: cache.optional(),
    limits: limits.optional(),
    forward_proxy: forwardProxy.optional(),
    inbound: inbound.optional(),
    signals: signals.optional(),
    intercept: intercept.optional(),
    defaults: defaults.optional(),
    routes: z.array(route).min(1).meta({ description: 'Backends, in any order.' }),
  })
  .meta({
    $id: 'https://cambist.dev/config/v1/schema.json',
    title: 'cambist config',
    description: 'The config file of cambist, in YAML or JSON.',
  });

export type ConfigFile = z.infer<typeof configSchema>;

/** A checked file without the parts that have errors, or one that is written. Any part may be missing. */
export type Loose<T> = T extends readonly (infer Item)[]
  ? readonly (Loose<Item> | undefined)[]
  : T extends object
    ? { [Key in keyof T]?: Loose<T[Key]> | undefined }
    : T;

/** The JSON Schema (draft 2020-12) of the config file, for editors. */
export function jsonSchema(): Record<string, unknown> {
  const { $schema, $id, title, description, ...rest } = z.toJSONSchema(configSchema, {
    target: 'draft-2020-12',
    io: 'input',
  });
  return { $schema, $id, title, description, ...rest };
}
