import type { CredentialSource } from '../secrets/credential.ts';
import type { Scope } from './key.ts';
import type { TlsFiles } from './sources.ts';

/** Client authentication at a token endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2). */
export type ClientAuth =
  | { readonly method: 'none' }
  | {
      readonly method: 'client_secret_basic';
      readonly clientSecret: CredentialSource;
      /** `form`: form-urlencodes id and secret before base64, as RFC 6749 section 2.3.1 requires. `raw`: does not. */
      readonly basicEncoding: 'form' | 'raw';
    }
  | { readonly method: 'client_secret_post'; readonly clientSecret: CredentialSource }
  | ({
      readonly method: 'client_secret_jwt';
      readonly clientSecret: CredentialSource;
      /** JWS algorithm: HS256, HS384 or HS512. */
      readonly alg: string;
    } & AssertionRules)
  | ({
      readonly method: 'private_key_jwt';
      readonly privateKey: CredentialSource;
      /** JWS algorithm. Undefined: derived from the key (RS256, ES256/384/512, EdDSA). */
      readonly alg: string | undefined;
      readonly keyId: string | undefined;
      /** PEM of the key's certificate. The assertion contains its thumbprint (`x5t#S256`, RFC 7515 section 4.1.8). */
      readonly certificate: CredentialSource | undefined;
    } & AssertionRules)
  | {
      readonly method: 'client_assertion';
      /** A JWT that another program writes and renews, or that another authorization server issues. */
      readonly clientAssertion: CredentialSource | AssertionFrom;
      /** Full URN, the `client_assertion_type`. */
      readonly clientAssertionType: string;
    }
  /** Uses the certificate in the server's `tls` (RFC 8705 section 2). */
  | { readonly method: 'tls_client_auth' };

/** Another authorization server issues the client assertion, for cambist's client there. */
export interface AssertionFrom {
  readonly authorizationServer: AuthorizationServer;
  readonly scope: string;
}

/** Claims of an assertion that cambist signs. */
export interface AssertionRules {
  /** `aud` of the assertion. Undefined: the issuer or, without one, the token endpoint. */
  readonly assertionAudience: string | undefined;
  readonly assertionLifetimeMs: number;
}

/** By name, in the order of the file. Undefined after an error. */
export type Servers = ReadonlyMap<string, AuthorizationServer | undefined>;

/** For sections that refer to servers. */
export interface ServerScope extends Scope {
  readonly servers: Servers;
}

export interface AuthorizationServer {
  /** Its key in the file, and its label in metrics. */
  readonly name: string;
  readonly issuer: string | undefined;
  /** Undefined: found by discovery. */
  readonly tokenEndpoint: string | undefined;
  /** May a discovered endpoint be plain http to any host? */
  readonly allowInsecureHttp: boolean;
  readonly clientId: string | undefined;
  readonly clientAuth: ClientAuth;
  /** Grant for the subject token: RFC 8693, RFC 7523 with the token as `assertion`, or that of Auth0 Token Vault. */
  readonly grant: 'token_exchange' | 'jwt_bearer' | 'token_vault';
  readonly extraParams: readonly (readonly [name: string, value: string])[];
  readonly timeoutMs: number;
  readonly tls: TlsFiles | undefined;
  /** Prove possession of a key (RFC 9449), and accept tokens that are bound to it. */
  readonly dpop: boolean;
}
