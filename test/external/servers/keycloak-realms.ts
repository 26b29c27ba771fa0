import type { JWK } from 'jose';
import type { Realm } from './keycloak.ts';

/** Names of `config/keycloak-realm.json`. */
export const REALM = 'agents';
export const USER = { name: 'alice', password: 'throwaway-password-of-alice' };
export const SECRET = 'throwaway-secret-of-cambist';

/** A realm with the clients of the committed realm, and variants of them with common mistakes. */
export const MISTAKEN_REALM = 'mistaken';

interface Client {
  clientId: string;
  attributes?: Record<string, string>;
  protocolMappers?: { name: string; config: Record<string, string> }[];
  [key: string]: unknown;
}

export const MISTAKES = {
  /** The audience of its tokens does not contain cambist. */
  bareAgent: 'agent-without-audience',
  withoutMapper: 'cambist-without-mapper',
  switchedOff: 'cambist-switched-off',
  /** Correct, with another method of client authentication. */
  signing: 'cambist-signing',
} as const;

export function mistakenRealm(committed: Realm, publicKey: JWK): Realm {
  const clients = committed.clients as Client[];
  const agent = clientNamed(clients, 'agent');
  const cambist = clientNamed(clients, 'cambist');
  const exchangers = [MISTAKES.withoutMapper, MISTAKES.switchedOff, MISTAKES.signing];
  return {
    ...committed,
    realm: MISTAKEN_REALM,
    clients: [
      ...clients.filter((client) => client !== agent),
      { ...agent, protocolMappers: ['cambist', ...exchangers].map((name) => audienceMapper(agent, name)) },
      { ...agent, clientId: MISTAKES.bareAgent, protocolMappers: [] },
      { ...cambist, clientId: MISTAKES.withoutMapper, protocolMappers: [] },
      { ...cambist, clientId: MISTAKES.switchedOff, attributes: {} },
      {
        ...cambist,
        clientId: MISTAKES.signing,
        clientAuthenticatorType: 'client-jwt',
        attributes: {
          ...cambist.attributes,
          'use.jwks.string': 'true',
          'jwks.string': JSON.stringify({ keys: [publicKey] }),
        },
        protocolMappers: [...(cambist.protocolMappers ?? []), actorMapper],
      },
    ],
  };
}

/** The realm, in which a client is a backend with this URL. */
export function withResourceUrl(realm: Realm, clientId: string, url: string): Realm {
  const clients = realm.clients as Client[];
  const backend = clientNamed(clients, clientId);
  const changed = { ...backend, attributes: { ...backend.attributes, resource_url: url } };
  return { ...realm, clients: clients.map((client) => (client === backend ? changed : client)) };
}

function clientNamed(clients: readonly Client[], name: string): Client {
  const found = clients.find(({ clientId }) => clientId === name);
  if (found === undefined) throw new Error(`the realm has no client "${name}"`);
  return found;
}

/** Keycloak 26.7 ignores actor tokens, so a mapper of the client says which party acts. */
export const ACTOR = { sub: 'service-account-agent', act: { sub: 'agent' } };
const actorMapper = {
  name: 'actor',
  protocol: 'openid-connect',
  protocolMapper: 'oidc-hardcoded-claim-mapper',
  config: {
    'claim.name': 'act',
    'claim.value': JSON.stringify(ACTOR),
    'jsonType.label': 'JSON',
    'access.token.claim': 'true',
  },
};

/** Copies the client's audience mapper for another audience. */
function audienceMapper({ protocolMappers = [] }: Client, audience: string) {
  const [mapper] = protocolMappers;
  return {
    ...mapper,
    name: `audience ${audience}`,
    config: { ...mapper?.config, 'included.client.audience': audience },
  };
}
