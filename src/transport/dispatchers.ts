import { hash, X509Certificate } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import type { Dispatcher } from 'undici';
import { pathsOf, type TlsFiles } from '../config/kinds.ts';
import type { Route } from '../config/route.ts';
import { readCredential, unavailable } from '../secrets/credential.ts';
import { oncePer } from '../secrets/secret.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import type { ConnectorOptions } from './connector.ts';
import { Http1Dispatcher } from './http1/dispatcher.ts';
import { systemLookup } from './system-lookup.ts';

/** The options for connecting to a peer: trusted certificates, our own certificate, and timeout. */
export interface PeerOptions {
  /** The peer's name in messages and metrics, for example `route "github"`. */
  readonly name: string;
  readonly tls: TlsFiles | undefined;
  /** 0 turns the timeout off. */
  readonly connectMs: number;
  /** Unix socket to connect to, whatever the origin. */
  readonly socketPath?: string | undefined;
}

export const upstreamPeer = oncePer(({ name, tls, timeouts, upstream }: Route): PeerOptions => {
  return { name: `route "${name}"`, tls, connectMs: timeouts.connectMs, socketPath: upstream.socketPath };
});

/** Peers with the same key connect in the same way. Each request asks for it, and writing it takes a microsecond. */
const keyOf = oncePer(({ connectMs, tls, socketPath }: PeerOptions) => JSON.stringify([connectMs, tls, socketPath]));

interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** The options for finding and connecting to all peers. */
export type Reach = Pick<ConnectorOptions, 'refuse'> & { readonly lookup?: LookupFunction };

type Svids = Pick<WorkloadApi, 'svid' | 'prepare'>;

/** Connection pools, one for each way of connecting. Peers that connect in the same way share a pool. */
export type Dispatchers = ReturnType<typeof createDispatchers>;

/**
 * @param onCertificate called when a client certificate was read, with its expiry in epoch seconds
 * @param reach by default, the system resolves names
 * @param svids for peers to which cambist presents its SVID
 */
export function createDispatchers(
  onCertificate: (peer: string, expiresAtSeconds: number) => void,
  reach: Reach = {},
  svids?: Svids,
) {
  /** The pools of peers without TLS files. */
  const plain = new Map<string, Dispatcher>();
  /** The pools of peers with TLS files, which may change. */
  const withFiles = new Map<string, { readonly pool: Dispatcher; readonly tls: TlsFiles }>();
  const byMaterial = new Map<string, Dispatcher>();
  /** Peers whose TLS files may have changed since they were read. */
  const stale = new Set<string>();
  /** Pools that accept no new requests and have not closed yet. */
  const retired = new Set<Dispatcher>();
  let rereads = 0;

  async function read(peer: PeerOptions, tls: TlsFiles, key: string): Promise<Dispatcher> {
    const startedAt = rereads;
    const material = await readTlsMaterial(tls, peer.name, svids);
    // The expiry of the SVID has a metric of its own.
    if (material.cert !== undefined && !tls.spiffe) onCertificate(peer.name, certificateExpirySeconds(material.cert));
    const pool = poolFor(peer, material);
    // Material read before the last change serves only the request that waits for it.
    if (startedAt !== rereads) return pool;
    withFiles.set(key, { pool, tls });
    stale.delete(key);
    retireUnused();
    return pool;
  }

  /** Certificates may rotate every hour, and the keys of previous ones must not stay in memory. */
  function retireUnused(): void {
    const inUse = new Set([...plain.values(), ...[...withFiles.values()].map(({ pool }) => pool)]);
    for (const [digest, pool] of byMaterial) {
      if (inUse.has(pool)) continue;
      byMaterial.delete(digest);
      retired.add(pool);
      void pool.close().finally(() => retired.delete(pool));
    }
  }

  function poolFor({ connectMs, socketPath }: PeerOptions, material: TlsMaterial): Dispatcher {
    const digest = hash('sha256', JSON.stringify([connectMs, material, socketPath]), 'base64url');
    const path = socketPath === undefined ? {} : { socketPath };
    const options = { ...material, lookup: systemLookup, ...reach, timeout: connectMs, ...path };
    const pool = byMaterial.get(digest) ?? new Http1Dispatcher(options);
    byMaterial.set(digest, pool);
    return pool;
  }

  return {
    /**
     * The pool for a peer. It verifies TLS, follows no redirect, retries nothing, and has only the timeout for connecting.
     * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE where a TLS file cannot be read, or is invalid
     */
    for(peer: PeerOptions): Dispatcher | Promise<Dispatcher> {
      const { tls } = peer;
      const key = keyOf(peer);
      if (tls !== undefined) {
        const known = withFiles.get(key)?.pool;
        const isExpired = tls.spiffe === true && svids?.svid() === undefined;
        return known === undefined || stale.has(key) || isExpired ? read(peer, tls, key) : known;
      }
      let pool = plain.get(key);
      if (pool === undefined) {
        pool = poolFor(peer, {});
        plain.set(key, pool);
      }
      return pool;
    },
    /**
     * The next request of each peer reads its TLS files again. Requests in flight finish on the pool that they started on.
     * @param changed only peers with one of these files
     */
    rereadTls(changed?: readonly string[]): void {
      if (changed?.length === 0) return;
      rereads += 1;
      for (const [key, { tls }] of withFiles) {
        if (changed?.some((file) => pathsOf(tls).includes(file)) === false) continue;
        // A peer that made no request since the last reread belongs to a previous config, or will read its files again.
        if (stale.delete(key)) withFiles.delete(key);
        else stale.add(key);
      }
      retireUnused();
    },
    /** Closes all pools and fails their requests. */
    async destroy(): Promise<void> {
      await Promise.all([...byMaterial.values(), ...retired].map((pool) => pool.destroy()));
    },
  };
}

async function readTlsMaterial(tls: TlsFiles, peer: string, svids: Svids | undefined): Promise<TlsMaterial> {
  const place = tls.within === undefined ? {} : { within: tls.within };
  const read = async (file: string, what: string) =>
    (await readCredential({ file, ...place }, `${what} of ${peer}`)).reveal();
  const material = {
    ...(tls.spiffe && (await currentSvid(svids, peer))),
    ...(tls.ca !== undefined && { ca: await read(tls.ca, 'CA certificate') }),
    ...(tls.certificate !== undefined && { cert: await read(tls.certificate, 'client certificate') }),
    ...(tls.privateKey !== undefined && { key: await read(tls.privateKey, 'client key') }),
  };
  checkTlsMaterial(material, peer);
  return material;
}

async function currentSvid(svids: Svids | undefined, peer: string): Promise<TlsMaterial> {
  await svids?.prepare();
  const svid = svids?.svid();
  if (svid === undefined) throw unavailable(`${peer}: cambist has no SVID: restart it with spiffe in the config`);
  return { cert: svid.certificate, key: svid.privateKey.reveal() };
}

/** Otherwise a CA file without a certificate would silently trust nothing, and a wrong key would fail only on connecting. */
function checkTlsMaterial(material: TlsMaterial, peer: string): void {
  // Loaded here, because a start without TLS does not need it.
  const { createSecureContext } = process.getBuiltinModule('node:tls');
  try {
    if (material.ca !== undefined) new X509Certificate(material.ca);
    createSecureContext(material);
  } catch (cause) {
    const rule = 'each must be PEM, and the key must belong to the certificate';
    throw unavailable(`invalid TLS files of ${peer}: ${rule}`, cause);
  }
}

function certificateExpirySeconds(pem: string): number {
  return Date.parse(new X509Certificate(pem).validTo) / 1000;
}
