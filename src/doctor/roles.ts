import type { AuthorizationServer, Route, TokenTarget } from '../config/config.ts';
import { firstLegTarget } from '../tokens/chain.ts';

/** What an authorization server is asked by the first route that trades a token there. */
export interface Role {
  readonly grant: 'token_exchange' | 'jwt_bearer';
  readonly target: TokenTarget;
  readonly subjectTokenType: string;
  readonly wanted: 'token' | 'assertion';
}

/** The servers that routes need, and what for; undefined: for nothing but tokens of our own. */
export function rolesOf(routes: readonly Route[]): ReadonlyMap<AuthorizationServer, Role | undefined> {
  const roles = new Map<AuthorizationServer, Role | undefined>();
  const note = (server: AuthorizationServer, role: Role | undefined) => {
    if (roles.get(server) === undefined) roles.set(server, role);
  };
  for (const { credential, subjectToken } of routes) {
    if (credential.kind === 'client_credentials') note(credential.authorizationServer, undefined);
    if (credential.kind !== 'exchange') continue;
    const { authorizationServer: server, chain, target } = credential;
    const subjectTokenType = subjectToken.type;
    if (chain !== undefined) {
      const first = firstLegTarget(chain, target);
      note(chain.authorizationServer, {
        grant: 'token_exchange',
        target: first,
        subjectTokenType,
        wanted: 'assertion',
      });
    }
    const grant = chain === undefined ? server.grant : 'jwt_bearer';
    note(server, { grant, target, subjectTokenType, wanted: 'token' });
  }
  return roles;
}
