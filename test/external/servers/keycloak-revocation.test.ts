import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { type FakeUpstream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { freePort } from '../../harness/free-port.ts';
import { call } from '../../harness/http-call.ts';
import { keepParts } from '../../harness/keep-parts.ts';
import { echo } from '../../harness/upstream-handlers.ts';
import { committedRealm, type Keycloak, type Realm, startKeycloak } from './keycloak.ts';
import { REALM, SECRET, USER } from './keycloak-realms.ts';
import { ADMIN, RECEIVERS, type Session, SIGNALS_AUDIENCE, sessionsOf, signallingRealm } from './keycloak-sessions.ts';

/** Sessions that each user has at each client. */
const SESSIONS = 8;
/** Longer than the slowest way takes: the introspection cache, plus the time that Keycloak takes under load. */
const OBSERVED_MS = 6_000;

/** The ways to learn of a revocation, each with the client that its users sign in to. */
const WAYS = {
  introspection: 'agent',
  'logout with sid': 'agent-by-session',
  'logout without sid': 'agent-by-user',
  poll: 'agent',
} as const;
type Way = keyof typeof WAYS;

/** The number of a user's sessions whose tokens are refused, by each way. */
type Ended = Readonly<Record<Way, 0 | 1 | typeof SESSIONS>>;
const ONE: Ended = { introspection: 1, 'logout with sid': 1, 'logout without sid': SESSIONS, poll: 1 };
const ALL: Ended = {
  introspection: SESSIONS,
  'logout with sid': SESSIONS,
  'logout without sid': SESSIONS,
  poll: SESSIONS,
};
const NONE: Ended = { introspection: 0, 'logout with sid': 0, 'logout without sid': 0, poll: 0 };

let keycloak: Keycloak;
let upstream: FakeUpstream;
let sessions: ReturnType<typeof sessionsOf>;
const cambists = new Map<Way, CambistProcess>();
const { keep, close } = keepParts();

const ACTIONS: readonly [action: string, isForUser: boolean, Ended, () => (session: Session) => Promise<unknown>][] = [
  ['the user signs out', false, ONE, () => sessions.signOut],
  ['the user signs out in a browser', false, { ...ONE, poll: 0 }, () => sessions.endSessionByBrowser],
  ['the user signs out of all devices', true, { ...ALL, poll: 0 }, () => sessions.signOutEverywhere],
  ['an administrator ends one session', false, { ...ONE, poll: 0 }, () => sessions.endSession],
  ['an administrator ends all sessions of a user', true, ALL, () => sessions.logOutUser],
  ['an administrator sets a password', true, { ...NONE, poll: SESSIONS }, () => sessions.resetPassword],
  ['an administrator disables a user', true, { ...NONE, introspection: SESSIONS }, () => sessions.disableUser],
  ['an administrator deletes a user', true, { ...NONE, introspection: SESSIONS }, () => sessions.deleteUser],
  [
    'an administrator ends the sessions of all users',
    true,
    { ...NONE, introspection: SESSIONS },
    () => sessions.logOutRealm,
  ],
];

before(async () => {
  upstream = keep(await startFakeUpstream(echo));
  const ports = { 'logout with sid': await freePort(), 'logout without sid': await freePort() };
  keycloak = keep(
    await startKeycloak([revocationRealm(await committedRealm(), ports)], {
      KC_FEATURES: 'ssf',
      KC_BOOTSTRAP_ADMIN_USERNAME: ADMIN.name,
      KC_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
    }),
  );
  sessions = sessionsOf(keycloak);
  await sessions.allowReceivers();
  const issuer = keycloak.issuer(REALM);
  const stream = (await sessions.asReceiver(RECEIVERS.poll, 'POST', '/streams', {
    delivery: { method: 'urn:ietf:rfc:8936' },
    events_requested: ['session-revoked', 'credential-change'].map(
      (event) => `https://schemas.openid.net/secevent/caep/event-type/${event}`,
    ),
  })) as { delivery: { endpoint_url: string } };
  const signals = (transmitter: object, port?: number) => ({
    signals: {
      ...(port !== undefined && { listen: `127.0.0.1:${port}` }),
      transmitters: { keycloak: { issuer, ...transmitter } },
    },
  });
  const verify = { issuer, audience: 'cambist', introspection: { cache: '1s' } };
  await start('introspection', { defaults: { subject_token: { verify } } });
  for (const way of ['logout with sid', 'logout without sid'] as const) {
    await start(way, signals({ audience: WAYS[way], backchannel_logout: true }, ports[way]));
  }
  const poll = {
    poll_endpoint: stream.delivery.endpoint_url,
    authorization_server: 'by-poll',
    scope: 'ssf.read ssf.manage',
  };
  await start('poll', signals({ audience: SIGNALS_AUDIENCE, delivery: 'poll', ...poll }));
});

after(close);

/** The recipe's realm with a user for each action, and a client for each kind of back-channel logout. */
function revocationRealm(committed: Realm, ports: Readonly<Record<string, number>>): Realm {
  const realm = signallingRealm(committed, 'http://127.0.0.1:9');
  const [alice] = realm.users as { username: string }[];
  const clients = realm.clients as { clientId: string }[];
  const agent = (committed.clients as { clientId: string }[]).find(({ clientId }) => clientId === 'agent');
  const loggingOut = (way: keyof typeof WAYS, withSession: boolean) => ({
    ...agent,
    clientId: WAYS[way],
    attributes: {
      'backchannel.logout.url': `http://127.0.0.1:${ports[way]}/logout/keycloak`,
      'backchannel.logout.session.required': String(withSession),
    },
  });
  return {
    ...realm,
    users: ACTIONS.map((_, index) => ({
      ...alice,
      ...named(index),
      email: `user-${index}@example.com`,
      clientRoles: { account: ['manage-account'] },
    })),
    clients: [
      ...clients.map((client) => (client.clientId === 'agent' ? agent : client)),
      loggingOut('logout with sid', true),
      loggingOut('logout without sid', false),
    ],
  };
}

function named(index: number): { username: string } {
  return { username: `user-${index}` };
}

async function start(way: Way, config: object): Promise<void> {
  const cambist = await startCambist({
    files: { secret: SECRET },
    config: (directory) => {
      const server = (client_id: string) => ({
        issuer: keycloak.issuer(REALM),
        client_id,
        client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, 'secret') } },
      });
      return {
        authorization_servers: {
          keycloak: server('cambist'),
          ...(way === 'poll' && { 'by-poll': server(RECEIVERS.poll) }),
        },
        routes: [
          {
            name: 'tools',
            match: { path: '/' },
            upstream: upstream.url,
            authorization_server: 'keycloak',
            audience: 'github-mcp',
          },
        ],
        ...config,
      };
    },
  });
  cambists.set(way, keep(cambist));
  await cambist.ready();
}

/** Watches tokens of one user at one cambist. @returns milliseconds until each was refused; undefined: it still works */
async function watch(way: Way, tokens: readonly string[], startedMs: number): Promise<(number | undefined)[]> {
  const url = cambists.get(way)?.url ?? '';
  const refusedMs: (number | undefined)[] = tokens.map(() => undefined);
  while (performance.now() - startedMs < OBSERVED_MS && refusedMs.includes(undefined)) {
    for (const [index, token] of tokens.entries()) {
      if (refusedMs[index] !== undefined) continue;
      const { status } = await call(url, { headers: { authorization: `Bearer ${token}` } });
      assert.ok(status === 200 || status === 401, `${way}: ${status}`);
      if (status === 401) refusedMs[index] = Math.round(performance.now() - startedMs);
    }
    await delay(20);
  }
  return refusedMs;
}

for (const [index, [action, isForUser, expected, how]] of ACTIONS.entries()) {
  test(`${action} of Keycloak: each way ends the sessions that its page says`, async (t) => {
    const user = { name: named(index).username, password: USER.password };
    const byClient = new Map<string, Session[]>();
    for (const client of new Set(Object.values(WAYS))) {
      const signedIn: Session[] = [];
      for (let count = 0; count < SESSIONS; count += 1) signedIn.push(await sessions.signIn(user, client));
      byClient.set(client, signedIn);
    }
    const tokensOf = (way: Way) => (byClient.get(WAYS[way]) ?? []).map(({ accessToken }) => accessToken);
    for (const way of Object.keys(WAYS) as Way[]) {
      for (const token of tokensOf(way)) {
        const { status } = await call(cambists.get(way)?.url ?? '', { headers: { authorization: `Bearer ${token}` } });
        assert.equal(status, 200, way);
      }
    }
    const end = how();
    const firsts = [...byClient.values()].flatMap((signedIn) => signedIn.slice(0, 1));
    for (const session of isForUser ? firsts.slice(0, 1) : firsts) await end(session);
    const startedMs = performance.now();
    const found = await Promise.all(
      (Object.keys(WAYS) as Way[]).map(async (way) => [way, await watch(way, tokensOf(way), startedMs)] as const),
    );
    for (const [way, refusedMs] of found) t.diagnostic(`${way}: ${refusedMs.map((ms) => ms ?? 'works').join(', ')}`);
    const ended = found.map(([way, refusedMs]) => [way, refusedMs.filter((ms) => ms !== undefined).length]);
    assert.deepEqual(Object.fromEntries(ended), expected);
  });
}
