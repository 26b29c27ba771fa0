import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { credentialSource, duration, flag, text, tls } from './schema-values.ts';

const NODE_FORM = 'must be host:port, as in valkey-0.valkey.agents.svc:6379';

const nodes = (description: string) =>
  z
    .array(text('Address: `host:port`.', {}, NODE_FORM))
    .min(1)
    .max(100)
    .meta({ description });

const username = (description: string) => text(description).optional();

const key = credentialSource('Secret of at least 32 random characters.');

const sentinel = z
  .strictObject({
    name: text('Name of the primary at the sentinels.'),
    hosts: nodes('Addresses of the sentinels.'),
    username: username('User at the sentinels.'),
    password: credentialSource('Password at the sentinels.').optional(),
  })
  .meta({ description: 'Sentinels that know the current primary, instead of `url`.' });

export const sharedCache = z
  .strictObject({
    url: text('Server: `rediss://host:port` for TLS, or `redis://host:port`. Without a user name or password.', {
      examples: ['rediss://valkey.agents.svc:6379'],
    }).optional(),
    sentinel: sentinel.optional(),
    cluster: nodes('Some nodes of a cluster, instead of `url`. The others are discovered.').optional(),
    username: username('User at the server (ACL).'),
    password: credentialSource('Password at the server.').optional(),
    tls: tls('TLS to the server. With `sentinel` and `cluster`, this key turns TLS on.').optional(),
    allow_insecure_tcp: flag(
      'Allow connections without TLS to any host. By default, only to loopback and internal names.',
      { default: DEFAULTS.allowInsecureTcp },
    ).optional(),
    key: z
      .union([key, z.array(key).min(1).max(8)], { error: 'must be { file: … } or { env: … }, or a list of them' })
      .meta({ description: 'Secrets that all replicas share. The first one seals, all of them open.' }),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
        error: 'must consist of letters, digits, ".", "_" and "-", at most 64',
      })
      .meta({ description: 'Beginning of every key and channel at the server.', default: DEFAULTS.sharedCachePrefix })
      .optional(),
    timeout: duration('Longest time that a request waits for the server.', {
      default: DEFAULTS.sharedCacheTimeout,
    }).optional(),
  })
  .meta({ description: 'Cache of issued tokens that several replicas share, on Valkey or Redis. Off by default.' });
