import type { AuthorizationServer, Chain } from './config.ts';
import type { ConfigNode } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { Loose } from './schema.ts';
import type { DefaultsFile } from './schema-route.ts';

type ChainFile = NonNullable<Loose<DefaultsFile>['chain']>;

/** `chain` as it is written. */
export interface ChainKeys {
  readonly authorizationServer: string;
  readonly assertion: Chain['assertion'];
}

export function readChain(written: ChainFile | undefined): ChainKeys | undefined {
  if (written?.authorization_server === undefined) return undefined;
  return {
    authorizationServer: written.authorization_server,
    assertion: written.assertion ?? DEFAULTS.chainAssertion,
  };
}

/**
 * The first leg of a chain. Its audience is the second server, and so is that of the assertion that comes back.
 * @param second the server that the assertion is shown to
 * @see draft-ietf-oauth-identity-assertion-authz-grant section 4.3, draft-ietf-oauth-identity-chaining section 2.3
 */
export function resolveChain(
  { assertion }: ChainKeys,
  first: AuthorizationServer,
  second: AuthorizationServer,
  node: ConfigNode,
): Chain | undefined {
  if (first === second) {
    node.at('authorization_server').error('is the server of the route as well: name the one that issues the assertion');
    return undefined;
  }
  const { issuer, tokenEndpoint } = second;
  if (issuer === undefined) {
    node.error(`needs the issuer of authorization server "${second.name}", whom the assertion is for: set it there`);
    return undefined;
  }
  // RFC 7523 section 3 lets a token endpoint stand for its server; an ID-JAG is for the issuer and nothing else.
  const expectAudience = assertion === 'id_jag' || tokenEndpoint === undefined ? [issuer] : [issuer, tokenEndpoint];
  return { authorizationServer: first, assertion, audience: issuer, expectAudience };
}
