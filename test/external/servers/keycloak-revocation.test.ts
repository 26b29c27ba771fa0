import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'undici';
import { routeTo } from '../../harness/app.ts';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { TOKEN_TIMEOUT } from '../../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { call, open } from '../../harness/http-call.ts';
import { freePort } from '../../harness/http-server.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { runCommand } from '../../harness/run-command.ts';
import { startWebSocketServer } from '../../harness/web-socket-server.ts';
import { basicAuth } from './agent.ts';
import { committedRealm, startKeycloak } from './keycloak.ts';
import { REALM, SECRET } from './keycloak-realms.ts';
import {
  RECEIVERS,
  revocationRealm,
  type Session,
  SIGNALS_AUDIENCE,
  sessionsOf,
  WAYS,
  type Way,
} from './keycloak-sessions.ts';

/** Sessions that each user has at each client. */
const SESSIONS = 8;
/** Longer than the slowest way usually takes: the introspection cache, plus the time that Keycloak takes. */
const OBSERVED_MS = 6_000;
/** Longer than it takes on a busy machine. */
const LIMIT_MS = 20_000;
const PUSHED = 'Bearer throwaway-authorization-of-keycloak';

/** The number of a user's sessions whose tokens are refused, by each way. */
type Ended = Readonly<Record<Way, 0 | 1 | typeof SESSIONS>>;
const NONE: Ended = { introspection: 0, 'logout with sid': 0, 'logout without sid': 0, poll: 0, push: 0 };
const LOGOUT_OF_ONE = { introspection: 1, 'logout with sid': 1, 'logout without sid': SESSIONS } as const;
const LOGOUT_OF_ALL = {
  introspection: SESSIONS,
  'logout with sid': SESSIONS,
  'logout without sid': SESSIONS,
} as const;
const EVENT_FOR_ONE = { poll: 1, push: 1 } as const;
const EVENT_FOR_ALL = { poll: SESSIONS, push: SESSIONS } as const;

type End = (session: Session) => Promise<unknown>;
const ACTIONS: readonly (readonly [action: string, isForUser: boolean, Partial<Ended>, how: () => End])[] = [
  ['the user signs out', false, { ...LOGOUT_OF_ONE, ...EVENT_FOR_ONE }, () => sessions.signOut],
  ['the user signs out in a browser', false, LOGOUT_OF_ONE, () => sessions.endSessionByBrowser],
  ['the user signs out of all devices', true, LOGOUT_OF_ALL, () => sessions.signOutEverywhere],
  ['an administrator ends one session', false, LOGOUT_OF_ONE, () => sessions.endSession],
  ['an administrator ends all sessions', true, { ...LOGOUT_OF_ALL, ...EVENT_FOR_ALL }, () => sessions.logOutUser],
  ['an administrator sets a password', true, EVENT_FOR_ALL, () => sessions.resetPassword],
  ['an administrator disables a user', true, { introspection: SESSIONS }, () => sessions.disableUser],
  ['an administrator deletes a user', true, { introspection: SESSIONS }, () => sessions.deleteUser],
  ['an administrator ends the sessions of all users', true, { introspection: SESSIONS }, () => sessions.logOutRealm],
];

/** The ways in which a signal arrives, and the users whose sessions the tests of these ways end. */
const CHANNELS = [
  ['logout with sid', 'logout'],
  ['push', 'push'],
  ['poll', 'poll'],
] as const;

const lifetime = keepParts();
after(lifetime.close);
const leaks = createLeakWatch();
for (const secret of [SECRET, PUSHED]) leaks.remember(secret);
const upstream = await startFakeUpstream(lifetime, (request, response) => {
  if (request.url !== '/stream') return echo(request, response);
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('data: 1\n\n');
});
const webSockets = await startWebSocketServer(lifetime);
const receivers: Record<string, string> = {};
for (const way of ['logout with sid', 'logout without sid', 'push']) {
  receivers[way] = `http://127.0.0.1:${await freePort()}`;
}
const users = ACTIONS.length + CHANNELS.length;
const keycloak = lifetime.keep(
  await startKeycloak([revocationRealm(await committedRealm(), users, receivers)], {
    KC_FEATURES: 'ssf',
    KC_SPI_SSF_TRANSMITTER__DEFAULT__ALLOW_INSECURE_PUSH_TARGETS: 'true',
    // As the documentation of the recipe says. The default is 30 seconds.
    KC_SPI_SSF_TRANSMITTER__DEFAULT__OUTBOX_DRAINER_INTERVAL: '500ms',
  }),
);
const issuer = keycloak.issuer(REALM);
const sessions = sessionsOf(keycloak);
await sessions.allowReceivers();
await sessions.createStream('push', {
  method: 'urn:ietf:rfc:8935',
  endpoint_url: `${receivers.push}/events/keycloak`,
  authorization_header: PUSHED,
});
const poll_endpoint = await sessions.createStream('poll', { method: 'urn:ietf:rfc:8936' });

const logout = { backchannel_logout: true };
const cambists: Readonly<Record<Way, CambistProcess>> = {
  introspection: await start('introspection'),
  'logout with sid': await start('logout with sid', { audience: WAYS['logout with sid'], ...logout }),
  'logout without sid': await start('logout without sid', { audience: WAYS['logout without sid'], ...logout }),
  poll: await start('poll', {
    audience: SIGNALS_AUDIENCE,
    delivery: 'poll',
    poll_endpoint,
    authorization_server: 'by-poll',
    scope: 'ssf.read ssf.manage',
  }),
  push: await start('push', { audience: SIGNALS_AUDIENCE, delivery: 'push', authorization: { file: 'pushed' } }),
};

/** cambist that learns of revocations in one way. @param transmitter undefined: it introspects */
async function start(way: Way, transmitter?: object): Promise<CambistProcess> {
  const listen = receivers[way];
  const verify = { issuer, audience: 'cambist', introspection: { cache: '1s' } };
  const cambist = await startCambist(lifetime, {
    files: { secret: SECRET, pushed: PUSHED },
    config: (directory) => {
      const client_auth = basicAuth(directory, 'secret');
      const server = (client_id: string) => ({ issuer, client_id, client_auth, timeout: TOKEN_TIMEOUT });
      const route = (path: string, url: string) =>
        routeTo(path, url, { authorization_server: 'keycloak', audience: 'github-mcp' });
      return {
        authorization_servers: {
          keycloak: server('cambist'),
          ...(way === 'poll' && { 'by-poll': server(RECEIVERS.poll) }),
        },
        ...(transmitter === undefined
          ? { defaults: { subject_token: { verify } } }
          : {
              signals: {
                ...(listen !== undefined && { listen: new URL(listen).host }),
                transmitters: { keycloak: { issuer, ...transmitter } },
              },
            }),
        routes: [route('tools', upstream.url), route('stream', `${upstream.url}/stream`), route('ws', webSockets.url)],
      };
    },
  });
  await cambist.ready();
  return cambist;
}

async function statusFor({ url }: CambistProcess, { accessToken }: Session): Promise<number> {
  return (await call(`${url}/tools`, { headers: { authorization: `Bearer ${accessToken}` } })).status;
}

/**
 * Watches sessions of one user, for longer if fewer than expected are refused.
 * @returns milliseconds until each was refused; undefined: it still works
 */
async function watch(way: Way, signedIn: readonly Session[], startedMs: number, expected: number) {
  const refusedMs: (number | undefined)[] = signedIn.map(() => undefined);
  const limitMs = () => (refusedMs.filter((ms) => ms !== undefined).length < expected ? LIMIT_MS : OBSERVED_MS);
  while (performance.now() - startedMs < limitMs() && refusedMs.includes(undefined)) {
    for (const [index, session] of signedIn.entries()) {
      if (refusedMs[index] !== undefined) continue;
      const status = await statusFor(cambists[way], session);
      assert.ok(status === 200 || status === 401, `${way}: ${status}`);
      if (status === 401) refusedMs[index] = Math.round(performance.now() - startedMs);
    }
    await delay(20);
  }
  return refusedMs;
}

for (const [index, [action, isForUser, expected, how]] of ACTIONS.entries()) {
  test(`${action} of Keycloak: each way ends the sessions that its page says`, async (t) => {
    const ways = Object.keys(WAYS) as Way[];
    const byClient = new Map<string, Session[]>();
    for (const client of new Set(Object.values(WAYS))) {
      const signedIn: Session[] = [];
      for (let count = 0; count < SESSIONS; count += 1) {
        signedIn.push(await sessions.signIn(`user-${index}`, client));
      }
      byClient.set(client, signedIn);
    }
    const of = (way: Way) => byClient.get(WAYS[way]) ?? [];
    for (const way of ways) for (const each of of(way)) assert.equal(await statusFor(cambists[way], each), 200, way);
    const end = how();
    const firsts = [...byClient.values()].flatMap((signedIn) => signedIn.slice(0, 1));
    for (const session of isForUser ? firsts.slice(0, 1) : firsts) await end(session);
    const startedMs = performance.now();
    const all: Ended = { ...NONE, ...expected };
    const found = await Promise.all(
      ways.map(async (way) => [way, await watch(way, of(way), startedMs, all[way])] as const),
    );
    for (const [way, refusedMs] of found) t.diagnostic(`${way}: ${refusedMs.map((ms) => ms ?? 'works').join(', ')}`);
    const ended = found.map(([way, refusedMs]) => [way, refusedMs.filter((ms) => ms !== undefined).length]);
    assert.deepEqual(Object.fromEntries(ended), all);
  });
}

/** A session with a cached token, an open stream and an open WebSocket. */
async function use(t: TestContext, cambist: CambistProcess, user: string, client: string) {
  const session = await sessions.signIn(user, client);
  leaks.remember(session.accessToken);
  const headers = { authorization: `Bearer ${session.accessToken}` };
  assert.equal(await statusFor(cambist, session), 200);
  const state = { isStreamOpen: true, isSocketOpen: true };
  const stream = await open(`${cambist.url}/stream`, { headers });
  stream.on('error', () => {}).on('close', () => (state.isStreamOpen = false));
  await once(stream, 'data');
  const socket = new WebSocket(`${cambist.url.replace('http', 'ws')}/ws`, { headers });
  await once(socket, 'open');
  socket.addEventListener('close', () => (state.isSocketOpen = false));
  t.after(() => {
    stream.destroy();
    socket.close();
  });
  return { session, state };
}

for (const [index, [way, channel]] of CHANNELS.entries()) {
  test(`a signal by ${channel} ends everything of one session, and nothing of another`, async (t) => {
    const cambist = cambists[way];
    const user = `user-${ACTIONS.length + index}`;
    const [one, other] = [await use(t, cambist, user, WAYS[way]), await use(t, cambist, user, WAYS[way])];
    const dropped = await cambist.metric('cambist_cache_evictions_total', { reason: 'revoked' });
    await sessions.signOut(one.session);
    await eventually('the refusal', async () => (await statusFor(cambist, one.session)) === 401, LIMIT_MS);
    await eventually('the cuts', () => !one.state.isStreamOpen && !one.state.isSocketOpen);
    const cuts = () => cambist.metric('cambist_requests_aborted_total', { aborted_by: 'revoked' });
    await eventually('the counts', async () => (await cuts()) === 2);
    assert.ok((await cambist.metric('cambist_cache_evictions_total', { reason: 'revoked' })) > dropped);
    assert.equal(await statusFor(cambist, other.session), 200);
    assert.deepEqual(other.state, { isStreamOpen: true, isSocketOpen: true });
    assert.ok((await cambist.metric('cambist_signals_total', { channel, result: 'applied' })) >= 1);
    if (channel !== 'logout') assert.equal(await cambist.metric('cambist_transmitter_available'), 1);
    leaks.assertNoLeak({ stdout: cambist.stdout(), stderr: cambist.stderr() });
  });
}

test('doctor polls', async () => {
  const { stdout } = await runCommand(['doctor', '--config', cambists.poll.configFile]);
  assert.match(stdout, /transmitter "keycloak" responds to polls/);
  leaks.assertNoLeak({ stdout });
});
