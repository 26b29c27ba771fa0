import { isLocal, type Listen, reaches, readFreeListen, readListen } from './addresses.ts';
import type { Servers } from './authorization-server.ts';
import { type ConfigNode, type Reading, readEach, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import { readHeaderName } from './header-names.ts';
import { isLoopback } from './loopback.ts';
import { readPathPrefix } from './matching.ts';
import type { Inbound, OpenPath } from './optional-sections.ts';
import { checkKeysUrl, resolveVerification } from './resolve-verification.ts';
import type { SubjectVerification, Upstream } from './route.ts';
import type { Loose } from './schema.ts';
import type { InboundFile } from './schema-inbound.ts';
import { toList } from './targets.ts';
import { readHttpUrl } from './urls.ts';

/** The other listeners, where they could be read. */
type Listeners = Readonly<Record<'listen' | 'admin', Listen | undefined>>;

/** Reads `inbound`. Undefined where it is missing or has an error, which is reported to `node`. */
export function resolveInbound(
  written: Loose<InboundFile> | undefined,
  listeners: Listeners,
  servers: Servers,
  node: ConfigNode,
): Inbound | undefined {
  if (written === undefined) return undefined;
  const listen = readFreeListen(written.listen, listeners, node.at('listen'));
  const agent = written.agent === undefined ? undefined : resolveAgent(written.agent, listen, listeners, node);
  const verify = resolveVerify(written.verify, servers, node.at('verify'));
  const open = readEach(written.open, node.at('open'), readOpenPath);
  const claims = resolveClaims(written.claims, node.at('claims'));
  warnOfReach(listeners.listen, node);
  const { baggage = DEFAULTS.inboundBaggage, detached = DEFAULTS.detached } = written;
  if (baggage && detached === 'allow') {
    node
      .at('detached')
      .warn(
        'with baggage, an agent whose users share a connection can send one user’s request with the token of another: ' +
          'set baggage to false, and let the agent forward Authorization',
      );
  }
  if (listen === undefined || agent === undefined || verify === undefined) return undefined;
  return {
    listen,
    agent,
    verify,
    open,
    claims,
    allowRawTokens: written.allow_raw_tokens ?? DEFAULTS.allowRawTokens,
    baggage,
    detached,
  };
}

/** A host that no request reaches by its name: a Unix socket has no address. */
const SOCKET_ORIGIN = 'http://localhost';

function resolveAgent(
  written: string,
  own: Listen | undefined,
  { listen, admin }: Listeners,
  inbound: ConfigNode,
): Upstream | undefined {
  const node = inbound.at('agent');
  const agent = valueOrReport(written.startsWith('unix:') ? readSocket(written) : readAgentUrl(written), node);
  if (agent === undefined) return undefined;
  for (const [key, other] of Object.entries({ 'inbound.listen': own, listen, admin })) {
    if (other !== undefined && isAddressOf(other, agent)) {
      node.error(`is the address of ${key}, so requests would loop: set the address of the agent`);
    }
  }
  if (agent.socketPath === undefined && !isLoopback(new URL(agent.origin).hostname)) {
    node.warn('is not loopback, so handles cross the network: let cambist run beside the agent');
  }
  return agent;
}

function readSocket(written: string): Reading<Upstream> {
  const read = readListen(written);
  if ('problem' in read) return read;
  if (read.value.kind !== 'unix') return { problem: 'must be http://host:port or unix:/path' };
  return { value: { origin: SOCKET_ORIGIN, host: 'localhost', path: '', socketPath: read.value.path } };
}

function readAgentUrl(written: string): Reading<Upstream> {
  if (!/^http:\/\//i.test(written)) return { problem: 'must be http://host:port or unix:/path' };
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

function resolveVerify(
  written: Loose<InboundFile['verify']> | undefined,
  servers: Servers,
  node: ConfigNode,
): SubjectVerification | undefined {
  const issuer = written?.issuer;
  if (written?.audience === undefined || issuer === undefined) return undefined;
  const audience = toList(written.audience);
  if (audience?.length === 0) node.at('audience').error('must not be empty: name the audience of the agent');
  if (audience?.includes('any')) {
    node.at('audience').error('must name the agent: "any" would accept tokens for every other service');
  }
  if (audience === undefined) return undefined;
  const { jwks_uri: jwksUri, introspection } = written;
  const keys = { issuer, audience, jwksUri, allowInsecureHttp: false, introspection };
  checkKeysUrl(keys, node);
  return resolveVerification(keys, servers, node);
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

/** Headers that the agent gets from cambist or from HTTP, or that frameworks read as something else. */
const TAKEN: ReadonlySet<string> = new Set([
  ...['authorization', 'baggage', 'cookie', 'date', 'forwarded', 'range', 'traceparent', 'tracestate', 'x-request-id'],
]);

function resolveClaims(
  written: Loose<InboundFile['claims']> | undefined,
  node: ConfigNode,
): readonly (readonly [header: string, claim: string])[] {
  const claims = new Map<string, readonly [string, string]>();
  for (const [header, claim] of Object.entries(written ?? {})) {
    if (claim === undefined) continue;
    const name = readHeaderName(header, node.at(header));
    const key = name.replaceAll('_', '-');
    if (TAKEN.has(key)) node.at(header).error(`"${name}" has another use: choose another header`);
    if (claims.has(key)) node.at(header).error('names the same header as an earlier key: remove one of them');
    claims.set(key, [name, claim]);
  }
  return [...claims.values()];
}

function warnOfReach(listen: Listen | undefined, inbound: ConfigNode) {
  if (listen === undefined || isLocal(listen)) return;
  inbound.warn('handles work for every host that reaches listen: set listen to loopback or to a Unix socket', 'key');
}
