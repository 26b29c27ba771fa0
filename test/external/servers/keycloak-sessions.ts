import { decodeJwt } from 'jose';
import { requestToken } from './agent.ts';
import { ADMIN, type Keycloak, type Realm } from './keycloak.ts';
import { REALM, SECRET, USER } from './keycloak-realms.ts';

/** The clients of cambist at the transmitter, one for each stream. */
export const RECEIVERS = { push: 'signals-by-push', poll: 'signals-by-poll' } as const;
export const SIGNALS_AUDIENCE = 'cambist-signals';

/** The ways in which cambist learns of a revocation, each with the client that its users sign in to. */
export const WAYS = {
  introspection: 'agent',
  'logout with sid': 'agent-by-session',
  'logout without sid': 'agent-by-user',
  poll: 'agent',
  push: 'agent',
} as const;
export type Way = keyof typeof WAYS;

/**
 * Turns Shared Signals on, with two receivers, and adds a client for each kind of back-channel logout.
 * @param users how many there are: `user-0`, `user-1`, and so on
 * @param receivers the URLs of `signals.listen`
 */
export function revocationRealm(committed: Realm, users: number, receivers: Readonly<Record<string, string>>): Realm {
  const clients = committed.clients as readonly { clientId: string }[];
  const agent = clients.find(({ clientId }) => clientId === 'agent');
  const [alice] = committed.users as readonly object[];
  const receiving = (clientId: string) => ({
    clientId,
    enabled: true,
    protocol: 'openid-connect',
    publicClient: false,
    clientAuthenticatorType: 'client-secret',
    secret: SECRET,
    standardFlowEnabled: false,
    serviceAccountsEnabled: true,
    attributes: {
      'ssf.enabled': 'true',
      'ssf.defaultSubjects': 'ALL',
      'ssf.streamAudience': SIGNALS_AUDIENCE,
      'ssf.validPushUrls': `${receivers.push}/*`,
    },
  });
  const loggingOut = (way: Way, withSession: boolean) => ({
    ...agent,
    clientId: WAYS[way],
    attributes: {
      'backchannel.logout.url': `${receivers[way]}/logout/keycloak`,
      'backchannel.logout.session.required': String(withSession),
    },
  });
  return {
    ...committed,
    attributes: { 'ssf.transmitterEnabled': 'true' },
    eventsEnabled: true,
    adminEventsEnabled: true,
    eventsListeners: ['jboss-logging', 'ssf-events'],
    users: Array.from({ length: users }, (_, index) => ({
      ...alice,
      username: `user-${index}`,
      email: `user-${index}@example.com`,
      clientRoles: { account: ['manage-account'] },
    })),
    clients: [
      ...clients,
      loggingOut('logout with sid', true),
      loggingOut('logout without sid', false),
      ...Object.values(RECEIVERS).map(receiving),
    ],
  };
}

export type Session = Awaited<ReturnType<typeof signIn>>;

async function signIn(keycloak: Keycloak, name: string, client: string) {
  const tokens = await keycloak.signIn(REALM, client, { ...USER, name });
  const { sid, sub: userId = '' } = decodeJwt<{ sid: string }>(tokens.accessToken);
  return { client, ...tokens, sid, userId };
}

/** Requests of users, operators and administrators to Keycloak. */
export function sessionsOf(keycloak: Keycloak) {
  const openid = keycloak.openid(REALM);

  async function asAdmin(method: string, path: string, body?: object): Promise<unknown> {
    const { accessToken } = await keycloak.signIn('master', 'admin-cli', ADMIN);
    return send(method, `${keycloak.url}/admin/realms/${REALM}${path}`, accessToken, body);
  }

  /** A request of a receiver of Shared Signals. */
  async function asReceiver(clientId: string, method: string, path: string, body?: object): Promise<unknown> {
    const form = { grant_type: 'client_credentials', scope: 'ssf.read ssf.manage' };
    const { accessToken } = await requestToken(`${openid}/token`, form, `${clientId}:${SECRET}`);
    return send(method, `${keycloak.issuer(REALM)}/ssf/transmitter${path}`, accessToken, body);
  }

  return {
    signIn: (user: string, client: string) => signIn(keycloak, user, client),
    /** Creates a stream of the events that revoke. @returns where it is polled */
    async createStream(way: keyof typeof RECEIVERS, delivery: object): Promise<string> {
      const { delivery: created } = (await asReceiver(RECEIVERS[way], 'POST', '/streams', {
        delivery,
        events_requested: ['session-revoked', 'credential-change'].map(
          (event) => `https://schemas.openid.net/secevent/caep/event-type/${event}`,
        ),
      })) as { delivery: { endpoint_url: string } };
      return created.endpoint_url;
    },
    /** Gives the receivers the scopes for their requests. Keycloak has them only after it imported the realm. */
    async allowReceivers(): Promise<void> {
      const scopes = (await asAdmin('GET', '/client-scopes')) as { id: string; name: string }[];
      for (const clientId of Object.values(RECEIVERS)) {
        const [client] = (await asAdmin('GET', `/clients?clientId=${clientId}`)) as { id: string }[];
        for (const { id } of scopes.filter(({ name }) => name.startsWith('ssf.'))) {
          await asAdmin('PUT', `/clients/${client?.id}/optional-client-scopes/${id}`);
        }
      }
    },
    /** An administrator sets the password of a user. It does not change. */
    resetPassword: ({ userId }: Session) =>
      asAdmin('PUT', `/users/${userId}/reset-password`, { type: 'password', value: USER.password, temporary: false }),
    /** Ends all sessions of a user, in the admin API. */
    logOutUser: ({ userId }: Session) => asAdmin('POST', `/users/${userId}/logout`),
    /** Ends one session, in the admin API. */
    endSession: ({ sid }: Session) => asAdmin('DELETE', `/sessions/${sid}`),
    disableUser: ({ userId }: Session) => asAdmin('PUT', `/users/${userId}`, { enabled: false }),
    deleteUser: ({ userId }: Session) => asAdmin('DELETE', `/users/${userId}`),
    /** "Sign out all devices" of the account console. */
    signOutEverywhere: ({ accessToken }: Session) =>
      send('DELETE', `${keycloak.issuer(REALM)}/account/sessions?current=true`, accessToken),
    /** Ends the sessions of all users, in the admin API. */
    logOutRealm: () => asAdmin('POST', '/logout-all'),
    /** The user signs out at the agent. */
    async signOut({ client, refreshToken }: Session): Promise<void> {
      const body = new URLSearchParams({ client_id: client, refresh_token: refreshToken });
      const response = await fetch(`${openid}/logout`, { method: 'POST', body });
      if (response.status !== 204) throw new Error(`sign-out failed with ${response.status}`);
    },
    /** The end-session endpoint (OpenID Connect RP-Initiated Logout). */
    async endSessionByBrowser({ idToken }: Session): Promise<void> {
      const query = new URLSearchParams({ id_token_hint: idToken });
      const response = await fetch(`${openid}/logout?${query}`, { redirect: 'manual' });
      if (response.status >= 400) throw new Error(`end-session failed with ${response.status}`);
    },
  };
}

async function send(method: string, url: string, token: string, body?: object): Promise<unknown> {
  const headers = { authorization: `Bearer ${token}`, accept: 'application/json' };
  const json = body && { headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(url, { method, headers, ...json });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url} returned ${response.status}: ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}
