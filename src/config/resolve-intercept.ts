import { relative } from 'node:path';
import { collide, type Listen, readListen, type TcpListen } from './addresses.ts';
import { type ConfigNode, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { Intercept, InterceptAuthority } from './optional-sections.ts';
import type { RouteDraft } from './resolve-route.ts';
import type { ConfigFile, Loose } from './schema.ts';
import type { Sources } from './sources.ts';

type InterceptFile = NonNullable<Loose<ConfigFile>['intercept']>;

/**
 * Reads `intercept`. Undefined without it, and after an error, which is reported to `node`.
 * @param others the addresses of `listen` and `admin`
 */
export function resolveIntercept(
  written: InterceptFile | undefined,
  others: Readonly<Record<'listen' | 'admin', Listen | undefined>>,
  drafts: readonly RouteDraft[],
  node: ConfigNode,
  sources: Sources,
): Intercept | undefined {
  if (written === undefined) return undefined;
  if (!drafts.some(({ match }) => match === undefined || match.host !== undefined)) {
    node.warn('has no effect: no route has match.host, and only the hosts of routes are intercepted', 'key');
  }
  const listen = resolveListen(written.listen ?? [], others, node.at('listen'));
  if (others.listen?.kind === 'unix' && listen.length === 0) {
    node.warn('has no effect: listen is a Unix socket, which no proxy variable can name', 'key');
  }
  const ca = resolveAuthority(written.ca, node.at('ca'), sources);
  const trustDir = sources.folder(written.trust_dir ?? DEFAULTS.trustDir);
  if (ca?.kind === 'dir' && !relative(trustDir, ca.dir).startsWith('..')) {
    node
      .at('trust_dir')
      .error('contains the folder of the private key, which agents must not read: use another folder');
  }
  return ca === undefined ? undefined : { ca, trustDir, listen };
}

function resolveAuthority(
  written: InterceptFile['ca'],
  node: ConfigNode,
  sources: Sources,
): InterceptAuthority | undefined {
  if (node.broken) return undefined;
  if (written === undefined || written === 'ephemeral') return { kind: 'ephemeral' };
  if ('dir' in written)
    return written.dir === undefined ? undefined : { kind: 'dir', dir: sources.folder(written.dir) };
  const { certificate, private_key: key } = written as {
    certificate?: { file?: string };
    private_key?: { file?: string };
  };
  if (certificate?.file === undefined || key?.file === undefined) return undefined;
  return {
    kind: 'files',
    certificate: sources.file(certificate.file, node.at('certificate', 'file')),
    privateKey: sources.file(key.file, node.at('private_key', 'file')),
  };
}

function resolveListen(
  written: readonly (string | undefined)[],
  others: Readonly<Record<'listen' | 'admin', Listen | undefined>>,
  node: ConfigNode,
): TcpListen[] {
  const found: TcpListen[] = [];
  for (const [index, text] of written.entries()) {
    const address = text === undefined ? undefined : valueOrReport(readListen(text), node.at(index));
    if (address === undefined) continue;
    if (address.kind === 'unix') {
      node.at(index).error('must be host:port: names and packets lead to no Unix socket');
      continue;
    }
    const taken = Object.entries(others).find(([, other]) => other !== undefined && collide(address, other));
    if (taken !== undefined) node.at(index).error(`is also the address of ${taken[0]}: change one`);
    else if (found.some((other) => collide(address, other))) node.at(index).error('is in the list twice: remove one');
    else found.push(address);
  }
  return found;
}
