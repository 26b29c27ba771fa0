import { createHash, X509Certificate } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import type { Dispatcher } from 'undici';
import type { TlsFiles } from '../config/authorization-server.ts';
import type { Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { readCredential } from '../secrets/credential.ts';
import type { ConnectorOptions } from './connector.ts';
import { Http1Dispatcher } from './http1/dispatcher.ts';
import type { Http2Dispatcher } from './http2/dispatcher.ts';
import { systemLookup } from './system-lookup.ts';

/** How to connect to a peer: trusted certificates, our own certificate, and timeout. */
export interface PeerOptions {
  /** The peer's name in messages and metrics, for example `route "github"`. */
  readonly name: string;
  readonly tls: TlsFiles | undefined;
  /** 0 turns the timeout off. */
  readonly connectMs: number;
  /** Offer HTTP/2 as well as HTTP/1.1, if the peer uses TLS. */
  readonly http2?: boolean;
  /** Unix socket to connect to, whatever the origin. */
  readonly socketPath?: string | undefined;
}

/** How to connect to a route's upstream. @param upgrades the request is a WebSocket handshake, which HTTP/2 does differently */
export function upstreamPeer({ name, tls, timeouts, http2, upstream }: Route, upgrades = false): PeerOptions {
  const { socketPath } = upstream;
  return { name: `route "${name}"`, tls, connectMs: timeouts.connectMs, http2: http2 && !upgrades, socketPath };
}

interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Connection pools, one for each way of connecting. Peers that connect in the same way share a pool. */
export interface Dispatchers {
  /**
   * The pool for a peer. It verifies TLS, follows no redirect, retries nothing, and has only the timeout for connecting.
   * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE where a TLS file cannot be read, or is invalid
   */
  for(peer: PeerOptions): Dispatcher | Promise<Dispatcher>;
  /** The next request of each peer reads its TLS files again. Requests in flight finish on the pool that they started on. */
  rereadTls(): void;
  /** Closes all pools and fails their requests. */
  destroy(): Promise<void>;
}

/** How all peers are found and connected to. */
export type Reach = Pick<ConnectorOptions, 'refuse'> & { readonly lookup?: LookupFunction };

/**
 * @param onCertificate called when a client certificate was read, with its expiry in epoch seconds
 * @param reach by default, the system resolves names
 */
export function createDispatchers(
  onCertificate: (peer: string, expiresAtSeconds: number) => void,
  reach: Reach = {},
): Dispatchers {
  /** By peers without TLS files. */
  const plain = new Map<string, Dispatcher>();
  /** By peers with TLS files, which may change. */
  const withFiles = new Map<string, Dispatcher>();
  const byMaterial = new Map<string, Dispatcher>();
  /** Peers whose TLS files may have changed since they were read. */
  const stale = new Set<string>();
  const keyOf = rememberKeys();
  /** Pools that accept no new requests and have not closed yet. */
  const retired = new Set<Dispatcher>();
  /** Loaded for the first peer with HTTP/2, because `node:http2` takes 3 % of a start. */
  let Http2: typeof Http2Dispatcher | undefined;
  let rereads = 0;

  async function read(peer: PeerOptions, tls: TlsFiles, key: string): Promise<Dispatcher> {
    const startedAt = rereads;
    const material = await readTlsMaterial(tls, peer.name);
    if (material.cert !== undefined) onCertificate(peer.name, certificateExpirySeconds(material.cert));
    const pool = poolFor(peer, material);
    // Material read before the last change serves only the request that waits for it.
    if (startedAt !== rereads) return pool;
    withFiles.set(key, pool);
    stale.delete(key);
    retireUnused();
    return pool;
  }

  /** Certificates may rotate every hour, and the keys of previous ones must not stay in memory. */
  function retireUnused(): void {
    const inUse = new Set([...plain.values(), ...withFiles.values()]);
    for (const [digest, pool] of byMaterial) {
      if (inUse.has(pool)) continue;
      byMaterial.delete(digest);
      retired.add(pool);
      void pool.close().finally(() => retired.delete(pool));
    }
  }

  function poolFor(peer: PeerOptions, material: TlsMaterial): Dispatcher {
    const { connectMs, http2 = false, socketPath } = peer;
    const digest = createHash('sha256')
      .update(JSON.stringify([connectMs, http2, material, socketPath]))
      .digest('base64url');
    const pool =
      byMaterial.get(digest) ??
      createPool(peer, { ...material, lookup: systemLookup, ...reach }, http2 ? Http2 : undefined);
    byMaterial.set(digest, pool);
    return pool;
  }

  async function withHttp2(peer: PeerOptions): Promise<Dispatcher> {
    Http2 = (await import('./http2/dispatcher.ts')).Http2Dispatcher;
    return dispatchers.for(peer);
  }

  const dispatchers: Dispatchers = {
    for(peer) {
      const { connectMs, http2 = false, tls, socketPath } = peer;
      if (http2 && Http2 === undefined) return withHttp2(peer);
      if (tls !== undefined) {
        const key = keyOf(peer, tls);
        const known = withFiles.get(key);
        return known === undefined || stale.has(key) ? read(peer, tls, key) : known;
      }
      const key = socketPath === undefined ? `${connectMs} ${http2}` : `${connectMs} ${http2} ${socketPath}`;
      let pool = plain.get(key);
      if (pool === undefined) {
        pool = poolFor(peer, {});
        plain.set(key, pool);
      }
      return pool;
    },
    rereadTls() {
      rereads += 1;
      // A peer that made no request since the last reread belongs to a previous config, or will read its files again.
      for (const key of stale) withFiles.delete(key);
      stale.clear();
      retireUnused();
      for (const key of withFiles.keys()) stale.add(key);
    },
    async destroy() {
      await Promise.all([...byMaterial.values(), ...retired].map((pool) => pool.destroy()));
    },
  };
  return dispatchers;
}

/**
 * The key of a peer with TLS files. Each request asks for it, and writing it takes a microsecond. The last one of each config entry
 * is therefore kept, as long as the config.
 */
function rememberKeys(): (peer: PeerOptions, tls: TlsFiles) => string {
  const last = new WeakMap<TlsFiles, { readonly peer: PeerOptions; readonly key: string }>();
  return (peer, tls) => {
    const known = last.get(tls);
    if (known !== undefined && connectsAlike(known.peer, peer)) return known.key;
    const { connectMs, http2 = false, socketPath } = peer;
    const key = JSON.stringify([connectMs, http2, tls, socketPath]);
    last.set(tls, { peer, key });
    return key;
  };
}

function connectsAlike(one: PeerOptions, other: PeerOptions): boolean {
  return one.connectMs === other.connectMs && one.http2 === other.http2 && one.socketPath === other.socketPath;
}

/** @param Http2 undefined if the peer does not want HTTP/2 */
function createPool(
  { connectMs, socketPath }: PeerOptions,
  options: TlsMaterial & Reach,
  Http2: typeof Http2Dispatcher | undefined,
): Dispatcher {
  const connect = { ...options, timeout: connectMs, ...(socketPath !== undefined && { socketPath }) };
  const http1 = new Http1Dispatcher(connect);
  return Http2 === undefined ? http1 : new Http2({ connect }, http1);
}

async function readTlsMaterial(tls: TlsFiles, peer: string): Promise<TlsMaterial> {
  const read = async (file: string, what: string) => (await readCredential({ file }, `${what} of ${peer}`)).reveal();
  const material = {
    ...(tls.ca !== undefined && { ca: await read(tls.ca, 'CA certificate') }),
    ...(tls.certificate !== undefined && { cert: await read(tls.certificate, 'client certificate') }),
    ...(tls.privateKey !== undefined && { key: await read(tls.privateKey, 'client key') }),
  };
  checkTlsMaterial(material, peer);
  return material;
}

/** Otherwise a CA file without a certificate would silently trust nothing, and a wrong key would fail only on connecting. */
function checkTlsMaterial(material: TlsMaterial, peer: string): void {
  // Loaded here, because a start without TLS does not need it.
  const { createSecureContext } = process.getBuiltinModule('node:tls');
  try {
    if (material.ca !== undefined) new X509Certificate(material.ca);
    createSecureContext(material);
  } catch (cause) {
    throw new CambistError(
      'ERR_CREDENTIAL_UNAVAILABLE',
      `invalid TLS files of ${peer}: each must be PEM, and the key must belong to the certificate`,
      { cause },
    );
  }
}

function certificateExpirySeconds(pem: string): number {
  return Date.parse(new X509Certificate(pem).validTo) / 1000;
}
