import type { AuthorizationServer } from './authorization-server.ts';
import type { ConfigNode } from './config-node.ts';
import type { Chain } from './route.ts';
import type { ChainKeys } from './route-keys.ts';

/**
 * Reads the first leg of a chain. The second server is its audience, and the audience of the assertion.
 * @param second the server that gets the assertion
 * @see draft-ietf-oauth-identity-assertion-authz-grant section 4.3, draft-ietf-oauth-identity-chaining section 2.3
 */
export function resolveChain(
  { assertion }: ChainKeys,
  first: AuthorizationServer,
  second: AuthorizationServer,
  node: ConfigNode,
): Chain | undefined {
  if (first === second) {
    node
      .at('authorization_server')
      .error('is also the authorization server of the route: name the server that issues the assertion');
    return undefined;
  }
  const { issuer, tokenEndpoint } = second;
  if (issuer === undefined) {
    node.error(
      `authorization server "${second.name}" has no issuer, but the assertion needs one as its audience: set it there`,
    );
    return undefined;
  }
  // RFC 7523 section 3 allows the token endpoint as audience. An ID-JAG allows only the issuer.
  const expectAudience = assertion === 'id_jag' || tokenEndpoint === undefined ? [issuer] : [issuer, tokenEndpoint];
  return { authorizationServer: first, assertion, audience: issuer, expectAudience };
}
