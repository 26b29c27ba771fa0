import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { WebSocket } from 'undici';
import type { SignalsStatus } from '../../../src/signals/signals.ts';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { type FakeUpstream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { freePort } from '../../harness/free-port.ts';
import { call, open } from '../../harness/http-call.ts';
import { keepParts } from '../../harness/keep-parts.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { runCommand } from '../../harness/run-command.ts';
import { echo } from '../../harness/upstream-handlers.ts';
import { startWebSocketServer, type WebSocketServer } from '../../harness/web-socket-server.ts';
import { committedRealm, type Keycloak, startKeycloak } from './keycloak.ts';
import { REALM, SECRET } from './keycloak-realms.ts';
import { ADMIN, RECEIVERS, type Session, SIGNALS_AUDIENCE, sessionsOf, signallingRealm } from './keycloak-sessions.ts';

/** Longer than Keycloak needs to send an event, with these options. */
const LIMIT_MS = 20_000;
const PUSHED = 'Bearer throwaway-authorization-of-keycloak';
const REVOKING = [
  'https://schemas.openid.net/secevent/caep/event-type/session-revoked',
  'https://schemas.openid.net/secevent/caep/event-type/credential-change',
];

let keycloak: Keycloak;
let upstream: FakeUpstream;
let webSockets: WebSocketServer;
let receiver: string;
let sessions: ReturnType<typeof sessionsOf>;
const leaks = createLeakWatch();
const { keep, close } = keepParts();

before(async () => {
  upstream = keep(
    await startFakeUpstream((request, response) => {
      if (request.url !== '/stream') return echo(request, response);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
    }),
  );
  webSockets = keep(await startWebSocketServer());
  receiver = `http://127.0.0.1:${await freePort()}`;
  keycloak = keep(
    await startKeycloak([signallingRealm(await committedRealm(), receiver)], {
      KC_FEATURES: 'ssf',
      KC_BOOTSTRAP_ADMIN_USERNAME: ADMIN.name,
      KC_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
      KC_SPI_SSF_TRANSMITTER__DEFAULT__ALLOW_INSECURE_PUSH_TARGETS: 'true',
      // As the documentation of the recipe says. The default is 30 seconds.
      KC_SPI_SSF_TRANSMITTER__DEFAULT__OUTBOX_DRAINER_INTERVAL: '500ms',
    }),
  );
  sessions = sessionsOf(keycloak);
  await sessions.allowReceivers();
  for (const secret of [SECRET, PUSHED]) leaks.remember(secret);
});

after(close);

/** cambist with one transmitter, which is Keycloak. */
async function start(t: TestContext, transmitter: object, listen = true) {
  const cambist = await startCambist({
    files: { secret: SECRET, pushed: PUSHED },
    config: (directory) => {
      const server = (client_id: string) => ({
        issuer: keycloak.issuer(REALM),
        client_id,
        client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, 'secret') } },
      });
      const route = (name: string, url: string) => ({
        name,
        match: { path: `/${name}` },
        upstream: url,
        authorization_server: 'keycloak',
        audience: 'github-mcp',
      });
      return {
        authorization_servers: {
          keycloak: server('cambist'),
          'by-poll': server(RECEIVERS.poll),
        },
        signals: {
          ...(listen && { listen: new URL(receiver).host }),
          transmitters: { keycloak: { issuer: keycloak.issuer(REALM), ...transmitter } },
        },
        routes: [route('tools', upstream.url), route('stream', `${upstream.url}/stream`), route('ws', webSockets.url)],
      };
    },
  });
  t.after(async () => {
    leaks.assertNoLeak({ stdout: cambist.stdout(), stderr: cambist.stderr() });
    await cambist.close();
  });
  await cambist.ready();
  return cambist;
}

/** Signs in. An earlier event ends all sessions that the user began in its second. */
async function signIn(cambist: CambistProcess): Promise<Session> {
  let session: Session | undefined;
  await eventually('a session', async () => {
    session = await sessions.signIn();
    leaks.remember(session.accessToken);
    const headers = { authorization: `Bearer ${session.accessToken}` };
    return (await call(`${cambist.url}/tools`, { headers })).status === 200;
  });
  assert.ok(session);
  return session;
}

/** A session of the user, with a cached token, an open stream and an open WebSocket. */
async function use(cambist: CambistProcess) {
  const session = await signIn(cambist);
  const headers = { authorization: `Bearer ${session.accessToken}` };
  const status = async () => (await call(`${cambist.url}/tools`, { headers })).status;
  const state = { isStreamOpen: true, isSocketOpen: true };
  const stream = await open(`${cambist.url}/stream`, { headers });
  assert.equal(stream.statusCode, 200);
  stream.on('error', () => {}).on('close', () => (state.isStreamOpen = false));
  await once(stream, 'data');
  const socket = new WebSocket(`${cambist.url.replace('http', 'ws')}/ws`, { headers });
  await once(socket, 'open');
  socket.addEventListener('close', () => (state.isSocketOpen = false));
  const close = () => {
    stream.destroy();
    socket.close();
  };
  return { session, status, state, close };
}

/** Ends one of two sessions, and sees that everything of this one ends, and nothing of the other. */
async function endsOneSession(
  t: TestContext,
  cambist: CambistProcess,
  { end, hitsAll = false }: { end: (session: Session) => Promise<unknown>; hitsAll?: boolean },
) {
  const [one, other] = [await use(cambist), await use(cambist)];
  t.after(other.close);
  const before = await cambist.metric('cambist_requests_aborted_total', { aborted_by: 'revoked' });
  const dropped = await cambist.metric('cambist_cache_evictions_total', { reason: 'revoked' });
  await end(one.session);
  const endedMs = performance.now();
  await eventually('the refusal', async () => (await one.status()) === 401, LIMIT_MS);
  await eventually('the cuts', () => !one.state.isStreamOpen && !one.state.isSocketOpen);
  t.diagnostic(`refused and cut ${Math.round(performance.now() - endedMs)} ms after Keycloak's response`);
  const count = hitsAll ? 4 : 2;
  const cuts = () => cambist.metric('cambist_requests_aborted_total', { aborted_by: 'revoked' });
  // Open requests of earlier sessions may end as well.
  await eventually('the counts', async () => (await cuts()) >= before + count);
  assert.ok((await cambist.metric('cambist_cache_evictions_total', { reason: 'revoked' })) > dropped);
  if (hitsAll) return assert.equal(await other.status(), 401);
  assert.equal(await other.status(), 200);
  assert.deepEqual(other.state, { isStreamOpen: true, isSocketOpen: true });
}

async function statusOf(cambist: CambistProcess): Promise<SignalsStatus['transmitters'][number] | undefined> {
  const response = await call(`${cambist.adminUrl}/status.json`);
  return (JSON.parse(response.text) as { signals: SignalsStatus }).signals.transmitters[0];
}

test('a back-channel logout of Keycloak ends one session', async (t) => {
  const cambist = await start(t, { audience: 'agent', backchannel_logout: true });
  const ways: [way: string, end: (session: Session) => Promise<unknown>][] = [
    ['the user signs out', sessions.signOut],
    ['the end-session endpoint', sessions.endSessionByBrowser],
    ['the admin API', sessions.endSession],
  ];
  for (const [way, end] of ways) {
    await t.test(way, (t) => endsOneSession(t, cambist, { end }));
  }
  await t.test('the admin API, for all sessions', (t) =>
    endsOneSession(t, cambist, { end: sessions.logOutUser, hitsAll: true }),
  );
  assert.ok((await cambist.metric('cambist_signals_total', { channel: 'logout', result: 'applied' })) >= 4);
});

test('an event that Keycloak pushes ends one session', async (t) => {
  await sessions.asReceiver(RECEIVERS.push, 'POST', '/streams', {
    delivery: {
      method: 'urn:ietf:rfc:8935',
      endpoint_url: `${receiver}/events/keycloak`,
      authorization_header: PUSHED,
    },
    events_requested: REVOKING,
  });
  const cambist = await start(t, {
    audience: SIGNALS_AUDIENCE,
    delivery: 'push',
    authorization: { file: 'pushed' },
  });
  assert.equal(await cambist.metric('cambist_transmitter_available'), 1);
  await endsOneSession(t, cambist, { end: sessions.signOut });
  assert.ok((await cambist.metric('cambist_signals_total', { channel: 'push', result: 'applied' })) >= 1);
});

test('an event that cambist polls from Keycloak ends one session', async (t) => {
  const stream = (await sessions.asReceiver(RECEIVERS.poll, 'POST', '/streams', {
    delivery: { method: 'urn:ietf:rfc:8936' },
    events_requested: REVOKING,
  })) as { delivery: { endpoint_url: string } };
  const poll = {
    audience: SIGNALS_AUDIENCE,
    delivery: 'poll',
    poll_endpoint: stream.delivery.endpoint_url,
    authorization_server: 'by-poll',
    scope: 'ssf.read ssf.manage',
  };
  const cambist = await start(t, poll, false);
  await eventually('a poll', async () => (await statusOf(cambist))?.last_poll_at !== undefined, LIMIT_MS);
  await endsOneSession(t, cambist, { end: sessions.signOut });
  await endsOneSession(t, cambist, { end: sessions.logOutUser, hitsAll: true });
  await endsOneSession(t, cambist, { end: sessions.resetPassword, hitsAll: true });
  assert.ok((await cambist.metric('cambist_signals_total', { channel: 'poll', result: 'applied' })) >= 3);
  assert.equal(await cambist.metric('cambist_transmitter_available'), 1);

  await t.test('Keycloak sends no event about a single session that an administrator ends', async (t) => {
    const [ended, signedOut] = [await use(cambist), await use(cambist)];
    t.after(ended.close);
    await sessions.endSession(ended.session);
    await sessions.signOut(signedOut.session);
    // Events arrive in order.
    await eventually('the later event', async () => (await signedOut.status()) === 401, LIMIT_MS);
    assert.deepEqual(ended.state, { isStreamOpen: true, isSocketOpen: true });
  });

  await t.test('doctor polls', async () => {
    const { stdout } = await runCommand(['doctor', '--config', cambist.configFile]);
    assert.match(stdout, /transmitter "keycloak" responds to polls/);
    leaks.assertNoLeak({ stdout });
  });
});
