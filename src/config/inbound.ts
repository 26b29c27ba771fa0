import * as z from 'zod';
import { type ConfigNode, type Reading, valueOrReport } from '../documents/config-node.ts';
import { isLoopback } from '../host-names.ts';
import { isLocal, type Listen, reaches, readListen } from './addresses.ts';
import type { ServerScope } from './authorization-server.ts';
import { readHeaderName } from './header-names.ts';
import { optionalSection, type Place, required, section, type ValueOf, valueKey, withFallback } from './key.ts';
import { choice, flag, headerNameSchema, list, nonEmptyText, text } from './kinds.ts';
import { address } from './listen.ts';
import { readPathPrefix } from './match.ts';
import type { Upstream } from './urls.ts';
import { readHttpUrl } from './urls.ts';
import { audiences, introspection, jwksUri, resolveVerification, type SubjectVerification } from './verification.ts';

export interface OpenPath {
  readonly path: string;
  /** Also every path that begins with it. */
  readonly isPrefix: boolean;
}

/** Reads an exact path, or a prefix followed by `*`. Only plain spellings match later, so only those can be written. */
function readOpenPath(written: string, node: ConfigNode): Reading<OpenPath> {
  const isPrefix = written.endsWith('*');
  const path = isPrefix ? written.slice(0, -1) : written;
  if (path.includes('*')) return { problem: 'may contain "*" only at its end' };
  if (/[%;]/.test(path)) {
    return { problem: 'must contain neither "%" nor ";", because servers read them differently' };
  }
  const prefix = readPathPrefix(path);
  if ('problem' in prefix) return prefix;
  if (isPrefix && path === '/') node.warn('opens every path, so the agent gets no handle at all: list single paths');
  return { value: { path, isPrefix } };
}

/** A host that no request reaches by its name: a Unix socket has no address. */
const SOCKET_ORIGIN = 'http://localhost';
const AGENT_FORM = 'must be http://host:port or unix:/path';

function readAgent(written: string): Reading<Upstream> {
  if (written.startsWith('unix:')) {
    const read = readListen(written);
    if ('problem' in read) return read;
    if (read.value.kind !== 'unix') return { problem: AGENT_FORM };
    return { value: { origin: SOCKET_ORIGIN, host: 'localhost', path: '', socketPath: read.value.path } };
  }
  if (!/^http:\/\//i.test(written)) return { problem: AGENT_FORM };
  const read = readHttpUrl(written, { allowInsecureHttp: true, allowQuery: false });
  if ('problem' in read) return read;
  const { origin, host, path } = read.value;
  if (path !== '' && path !== '/') return { problem: 'must have no path, because paths pass unchanged: remove it' };
  return { value: { origin, host, path: '' } };
}

function isAddressOf(listen: Listen, { origin, socketPath }: Upstream): boolean {
  if (socketPath === undefined) return reaches(listen, origin);
  return listen.kind === 'unix' && listen.path === socketPath;
}

/** Headers that the agent gets from cambist or from HTTP, or that frameworks read as something else. */
const TAKEN: ReadonlySet<string> = new Set([
  ...['authorization', 'baggage', 'cookie', 'date', 'forwarded', 'range', 'traceparent', 'tracestate', 'x-request-id'],
]);

type Claims = readonly (readonly [header: string, claim: string])[];

/** Lower-case header names, and the claims that they get. */
function readClaims(written: Readonly<Record<string, string | undefined>>, node: ConfigNode): Claims {
  const claims = new Map<string, readonly [string, string]>();
  for (const [header, claim] of Object.entries(written)) {
    if (claim === undefined) continue;
    const name = readHeaderName(header, node.at(header));
    const key = name.replaceAll('_', '-');
    if (TAKEN.has(key)) node.at(header).error(`"${name}" has another use: choose another header`);
    if (claims.has(key)) node.at(header).error('names the same header as an earlier key: remove one of them');
    claims.set(key, [name, claim]);
  }
  return [...claims.values()];
}

const verify = section(
  'Check of the caller’s token: signature, algorithm, `iss`, `aud` and `exp`.',
  {
    issuer: required(text('Expected `iss`.', { form: 'URL', without: 'required in `inbound`' })),
    audience: required(audiences('The `aud` must contain one of these.', { without: 'required in `inbound`' })),
    jwks_uri: jwksUri,
    introspection,
  },
  {
    finish(values, place: Place<ServerScope>): SubjectVerification {
      return resolveVerification(values, place);
    },
  },
);

export const inbound = optionalSection(
  'The agent gets handles in place of its callers’ tokens.',
  {
    listen: required(
      address('Address that callers connect to: `host:port` or `unix:/path`.', {
        examples: ['0.0.0.0:8080'],
        restart: 'change',
        page: 'inbound.md',
        without: 'required in `inbound`',
      }),
    ),
    agent: required(
      valueKey(
        nonEmptyText,
        '`http://host:port` or `unix:/path`',
        'Address of the agent: `http://host:port` or `unix:/path`.',
        { examples: ['http://127.0.0.1:8081'], without: 'required in `inbound`' },
        (written: string, node) => valueOrReport(readAgent(written), node),
      ),
    ),
    verify: required(verify),
    open: list(
      'Paths that need no token: exact, or a prefix followed by `*`.',
      {
        examples: [['/healthz', '/.well-known/agent-card.json']],
        form: 'list of paths',
        page: 'inbound.md#open-paths',
      },
      readOpenPath,
    ),
    claims: withFallback(
      valueKey(
        z.record(headerNameSchema.meta({ description: 'Header for the claim.' }), nonEmptyText),
        'map of header → claim',
        'Claims of the caller’s token that the agent gets as headers, by header.',
        { examples: [{ 'x-user-id': 'sub' }] },
        readClaims,
      ),
      {},
    ),
    allow_raw_tokens: flag('Accept tokens from the agent as well as handles.', { default: false }),
    baggage: flag('Give the agent its handle in `baggage` as well, and accept it there.', {
      default: true,
      page: 'inbound.md#which-request-a-handle-belongs-to',
    }),
    detached: choice(
      ['refuse', 'allow'],
      'Requests of the agent with a handle whose request from the caller is over.',
      { default: 'refuse' },
    ),
  },
  {
    restart: 'presence',
    check({ agent, baggage, detached }, { node, scope: { listeners } }) {
      for (const [key, other] of listeners) {
        if (agent !== undefined && isAddressOf(other, agent)) {
          node.at('agent').error(`is the address of ${key}, so requests would loop: set the address of the agent`);
        }
      }
      if (agent !== undefined && agent.socketPath === undefined && !isLoopback(new URL(agent.origin).hostname)) {
        node.at('agent').warn('is not loopback, so handles cross the network: let cambist run beside the agent');
      }
      const listen = listeners.get('listen');
      if (listen !== undefined && !isLocal(listen)) {
        node.warn('handles work for every host that reaches listen: set listen to loopback or to a Unix socket', 'key');
      }
      if (baggage === true && detached === 'allow') {
        const why =
          'with baggage, an agent whose users share a connection can send one user’s request with the token of another: set baggage to false, and let the agent forward Authorization';
        node.at('detached').warn(why);
      }
    },
  },
);

/** The way of callers to the agent, which gets handles in place of their tokens. */
export type Inbound = NonNullable<ValueOf<typeof inbound>>;
