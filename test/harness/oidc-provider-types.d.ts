/** The parts of oidc-provider 9.13 that the harness uses. The package has no types. */
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http';

  export interface OidcClient {
    readonly clientId: string;
  }

  export interface OidcContext {
    body: unknown;
    oidc: {
      readonly params?: Readonly<Record<string, string | string[] | undefined>>;
      readonly client?: OidcClient;
    };
  }

  export interface ResourceServerInfo {
    scope: string;
    audience?: string;
    accessTokenTTL?: number;
    accessTokenFormat: 'jwt' | 'opaque';
    jwt?: { sign: { alg: string } };
  }

  export interface OidcAccessToken {
    scope?: string;
    expiresIn?: number;
    resourceServer: unknown;
    readonly expiration: number;
    readonly tokenType: string;
    save(): Promise<string>;
  }

  export type GrantHandler = (ctx: OidcContext) => Promise<void>;

  export class Provider {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>);
    silent: boolean;
    readonly AccessToken: new (
      fields: Readonly<Record<string, unknown>>,
    ) => OidcAccessToken;
    readonly ResourceServer: new (
      identifier: string,
      info: ResourceServerInfo,
    ) => object;
    callback(): (request: IncomingMessage, response: ServerResponse) => void;
    registerGrantType(name: string, handler: GrantHandler, parameters: ReadonlySet<string>): void;
    on(event: 'grant.success', listener: (ctx: OidcContext) => void): void;
    on(event: 'grant.error', listener: (ctx: OidcContext, error: Error) => void): void;
  }

  interface OidcErrorConstructor {
    new (description?: string): Error;
  }

  export const errors: {
    readonly AccessDenied: OidcErrorConstructor;
    readonly InvalidRequest: OidcErrorConstructor;
    readonly InvalidScope: new (description: string, scope: string) => Error;
    readonly InvalidTarget: OidcErrorConstructor;
  };
}
