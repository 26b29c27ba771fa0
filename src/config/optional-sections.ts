import type { CredentialSource } from '../secrets/credential.ts';
import type { Listen, TcpListen } from './addresses.ts';
import type { AuthorizationServer, TlsFiles } from './authorization-server.ts';
import type { SubjectVerification, Upstream } from './route.ts';

/** The source of the certificate authority whose certificates intercepted connections get. */
export type InterceptAuthority =
  /** Made at start and kept in memory. */
  | { readonly kind: 'ephemeral' }
  /** Made once in this folder, and found again after a restart. */
  | { readonly kind: 'dir'; readonly dir: string }
  /** PEM files of an authority that another program made. */
  | { readonly kind: 'files'; readonly certificate: string; readonly privateKey: string };

/** Termination of TLS from agents, for the hosts of routes. */
export interface Intercept {
  readonly ca: InterceptAuthority;
  /** Folder for the files that make agents trust the authority. */
  readonly trustDir: string;
  /** Where connections arrive that were not sent to a proxy. With any, names are resolved by DNS alone. */
  readonly listen: readonly TcpListen[];
}

/** The audit trail. */
export interface Audit {
  readonly to:
    | { readonly kind: 'stdout' | 'otlp' }
    | { readonly kind: 'file'; readonly path: string }
    | { readonly kind: 'unix'; readonly path: string };
  /** Claims that identify subjects and actors. */
  readonly claims: readonly string[];
  /** Record MCP methods and the names of tools. */
  readonly tools: boolean;
  readonly onFull: 'drop' | 'refuse';
  /** Undefined: claims are recorded as they are. */
  readonly pseudonyms: { readonly key: CredentialSource; readonly claims: readonly string[] } | undefined;
}

/** A path that needs no token. */
export interface OpenPath {
  readonly path: string;
  /** Also every path that begins with it. */
  readonly isPrefix: boolean;
}

/** The way of callers to the agent, which gets handles in place of their tokens. */
export interface Inbound {
  readonly listen: Listen;
  readonly agent: Upstream;
  readonly verify: SubjectVerification;
  readonly open: readonly OpenPath[];
  /** Lower-case header names, and the claims that they get. */
  readonly claims: readonly (readonly [header: string, claim: string])[];
  /** May the agent send tokens as well as handles? */
  readonly allowRawTokens: boolean;
  /** Does the agent get its handles in baggage as well, and may they name the caller there? */
  readonly baggage: boolean;
  /** May the agent use a handle after the request that it got the handle with? */
  readonly detached: 'refuse' | 'allow';
}

/** Address of a server of the shared cache, or of a sentinel. */
export interface StoreNode {
  /** IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Where the server of the shared cache is found. */
export type StoreServer =
  | { readonly kind: 'standalone'; readonly node: StoreNode }
  | {
      readonly kind: 'sentinel';
      readonly name: string;
      readonly nodes: readonly StoreNode[];
      readonly username: string | undefined;
      readonly password: CredentialSource | undefined;
    }
  | { readonly kind: 'cluster'; readonly nodes: readonly StoreNode[] };

/** The second level of the cache, which replicas share. */
export interface SharedCache {
  readonly server: StoreServer;
  readonly username: string | undefined;
  readonly password: CredentialSource | undefined;
  /** Undefined: connections without TLS. */
  readonly tls: TlsFiles | undefined;
  readonly allowInsecureTcp: boolean;
  /** The first one seals, all of them open. Never empty. */
  readonly keys: readonly CredentialSource[];
  readonly prefix: string;
  readonly timeoutMs: number;
}

/** An issuer that says whose tokens are revoked. */
export interface Transmitter {
  /** Its key in the file, and its label in metrics. */
  readonly name: string;
  readonly issuer: string;
  /** One of these must be in the `aud` of its events. */
  readonly audience: readonly string[];
  /** Undefined: from the issuer's metadata. */
  readonly jwksUri: string | undefined;
  /** PEM file of the CA for metadata and keys: the one of the authorization server with the same issuer. */
  readonly ca: string | undefined;
  /** Undefined: no Shared Signals. */
  readonly delivery: 'push' | 'poll' | undefined;
  /** The value of the `Authorization` header of its events, or of our polls. Undefined: no such header. */
  readonly authorization: CredentialSource | undefined;
  /** The client whose tokens our polls have. */
  readonly client:
    | { readonly authorizationServer: AuthorizationServer; readonly scope: string | undefined }
    | undefined;
  /** Undefined without polls. */
  readonly pollEndpoint: string | undefined;
  readonly pollIntervalMs: number;
  /** OpenID Connect Back-Channel Logout 1.0. */
  readonly backchannelLogout: boolean;
}

/** Revocation by Shared Signals and back-channel logout. */
export interface Signals {
  /** Undefined where no transmitter sends to cambist. */
  readonly listen: Listen | undefined;
  /** How long a revocation is kept. */
  readonly rememberMs: number;
  readonly transmitters: readonly Transmitter[];
}
