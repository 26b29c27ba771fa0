import type { AuthorizationServer, Route, TokenTarget } from '../config/config.ts';
import { firstLegTarget } from '../tokens/chain.ts';

/** What an authorization server is asked by the first route that trades a token there. */
export interface Role {
  readonly grant: 'token_exchange' | 'jwt_bearer';
  readonly target: TokenTarget;
  readonly subjectTokenType: string;
  readonly wanted: 'token' | 'assertion';
}

/** The servers that routes need, and what for; `ourselves`: for nothing but tokens of our own. */
export function rolesOf(routes: readonly Route[]): ReadonlyMap<AuthorizationServer, Role | 'ourselves'> {
  const roles = new Map<AuthorizationServer, Role | 'ourselves'>();
  const note = (server: AuthorizationServer, role: Role | 'ourselves') => {
    if ((roles.get(server) ?? 'ourselves') === 'ourselves') roles.set(server, role);
  };
  for (const { credential, subjectToken } of routes) {
    if (credential.kind === 'client_credentials') note(credential.authorizationServer, 'ourselves');
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
