import type { CredentialSource } from '../secrets/credential.ts';
import { readListen } from './addresses.ts';
import type { TlsFiles } from './authorization-server.ts';
import { withBrackets } from './brackets.ts';
import { type ConfigNode, type Reading, readEach, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { SharedCache, StoreNode, StoreServer } from './optional-sections.ts';
import { mayUsePlainHttp } from './plain-http.ts';
import { readDuration } from './quantities.ts';
import type { ConfigFile, Loose } from './schema.ts';
import type { Sources } from './sources.ts';

type SharedCacheFile = NonNullable<NonNullable<Loose<ConfigFile>['cache']>['shared']>;

const DEFAULT_PORT = 6379;
const PLACES = ['url', 'sentinel', 'cluster'] as const;
const NO_TLS: TlsFiles = { ca: undefined, certificate: undefined, privateKey: undefined };

/** Reads `cache.shared`. Undefined without it, and after an error, which is reported to `node`. */
export function resolveSharedCache(
  written: SharedCacheFile | undefined,
  node: ConfigNode,
  sources: Sources,
): SharedCache | undefined {
  if (written === undefined) return undefined;
  const server = readServer(written, node, sources);
  const tls = readTls(written, node, sources);
  const keys = readKeys(written.key, node.at('key'), sources);
  const password = sources.credential(written.password, node.at('password'));
  const allowInsecureTcp = written.allow_insecure_tcp ?? DEFAULTS.allowInsecureTcp;
  const timeoutMs = readDuration(written.timeout ?? DEFAULTS.sharedCacheTimeout, node.at('timeout'), {
    min: '1ms',
    max: '5s',
  });
  if (written.username !== undefined && written.password === undefined && !node.broken) {
    node.error('has "username" without "password": set both, or remove it');
  }
  if (server !== undefined && tls === undefined && !allowInsecureTcp) refuseOpenNetworks(server, written, node);
  if (server === undefined || keys.length === 0 || node.broken) return undefined;
  const prefix = written.prefix ?? DEFAULTS.sharedCachePrefix;
  return { server, username: written.username, password, tls, allowInsecureTcp, keys, prefix, timeoutMs };
}

function readServer(written: SharedCacheFile, node: ConfigNode, sources: Sources): StoreServer | undefined {
  const [place, ...more] = PLACES.filter((name) => written[name] !== undefined || node.at(name).broken);
  if (place === undefined) node.error('names no server: set "url", "sentinel" or "cluster"');
  if (more.length > 0) node.error(`has "${[place, ...more].join('" and "')}": keep one of them`);
  if (place === undefined || more.length > 0) return undefined;
  if (written.url !== undefined) {
    const read = valueOrReport(readStoreUrl(written.url), node.at('url'));
    return read && { kind: 'standalone', node: read };
  }
  if (written.cluster !== undefined) {
    const nodes = readNodes(written.cluster, node.at('cluster'));
    return nodes && { kind: 'cluster', nodes };
  }
  const { name, hosts, username, password } = written.sentinel ?? {};
  const nodes = readNodes(hosts ?? [], node.at('sentinel', 'hosts'));
  if (name === undefined || nodes === undefined) return undefined;
  const source = sources.credential(password, node.at('sentinel', 'password'));
  return { kind: 'sentinel', name, nodes, username, password: source };
}

/** Problems do not quote the URL, which may contain a password. */
function readStoreUrl(text: string): Reading<StoreNode> {
  const [, scheme, authority = '', rest = ''] = /^([a-z]+):\/\/([^/?#]*)([/?#].*)?$/is.exec(text) ?? [];
  if (scheme === undefined || !/^(?:rediss?|valkeys?)$/i.test(scheme)) {
    return { problem: 'must start with rediss:// or redis://' };
  }
  if (authority.includes('@')) {
    return {
      problem:
        'must not contain a user name or password: set username and password: { file } beside it, and remove everything up to and including the "@"',
    };
  }
  if (rest !== '' && rest !== '/') return { problem: 'must end after the port: remove the path and the query' };
  return readNode(/:\d+$/.test(authority) ? authority : `${authority}:${DEFAULT_PORT}`);
}

function readNode(text: string): Reading<StoreNode> {
  const reading = readListen(text);
  if ('problem' in reading || reading.value.kind === 'unix' || reading.value.port === 0) {
    return { problem: 'must have a host and a port, as in valkey.agents.svc:6379' };
  }
  const { host, port } = reading.value;
  return { value: { host, port } };
}

function readNodes(written: readonly (string | undefined)[], node: ConfigNode): StoreNode[] | undefined {
  const nodes = readEach(written, node, readNode);
  return nodes.length === 0 || nodes.length < written.length ? undefined : nodes;
}

/** The scheme of a URL decides. Without a URL, the presence of `tls` does. */
function readTls(written: SharedCacheFile, node: ConfigNode, sources: Sources): TlsFiles | undefined {
  const files = sources.tls(written.tls, node.at('tls'));
  if (written.url === undefined) return files;
  if (/^(?:rediss|valkeys):/i.test(written.url)) return files ?? NO_TLS;
  if (written.tls !== undefined) node.at('tls').error('has no effect with redis://: write rediss:// in url', 'key');
  return undefined;
}

function readKeys(written: SharedCacheFile['key'], node: ConfigNode, sources: Sources): CredentialSource[] {
  if (!Array.isArray(written)) {
    const only = sources.credential(written as Exclude<typeof written, readonly unknown[]>, node);
    return only === undefined ? [] : [only];
  }
  return written
    .map((each, index) => sources.credential(each, node.at(index)))
    .filter((source) => source !== undefined);
}

/** Passwords and the pattern of use would be visible. Values are sealed anyway. */
function refuseOpenNetworks(server: StoreServer, written: SharedCacheFile, node: ConfigNode): void {
  const nodes = server.kind === 'standalone' ? [server.node] : server.nodes;
  const isOpen = nodes.some(({ host }) => !mayUsePlainHttp(withBrackets(host)));
  if (!isOpen) return;
  const fix = written.url === undefined ? 'set tls' : 'use rediss://';
  node
    .at(written.url === undefined ? server.kind : 'url')
    .error(
      `must use TLS, because plain TCP would show the password to the network outside this machine and cluster: ${fix}, or set ` +
        'allow_insecure_tcp: true if you trust the network',
    );
}
