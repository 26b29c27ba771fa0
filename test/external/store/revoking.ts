import type { TestContext } from 'node:test';
import type { RunningApp } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import { LOGOUT, postEvent, postLogout } from '../../harness/fake-transmitter.ts';
import { echo } from '../../harness/fake-upstream.ts';
import { startWebSocketServer } from '../../harness/web-socket-server.ts';
import { type ReplicaOptions, startReplicas } from './replicas.ts';

const CREDENTIAL_CHANGE = 'https://schemas.openid.net/secevent/caep/event-type/credential-change';
/** A loaded machine reconnects late. */
export const RECONNECT_MS = 60_000;

/**
 * Two replicas that accept signals.
 * @param transmitter more keys of the transmitter
 */
export async function startRevoking(
  t: TestContext,
  shared: ReplicaOptions['shared'],
  transmitter: Readonly<Record<string, unknown>> = { delivery: 'push', backchannel_logout: true },
  files: Readonly<Record<string, string>> = {},
) {
  const sockets = await startWebSocketServer(t);
  const replicas = await startReplicas(t, {
    shared,
    files,
    isMarked: true,
    handler(request, response) {
      if (request.url?.endsWith('/stream') !== true) return echo(request, response);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
    },
    more: ({ authorizationServer: { issuer } }) => ({
      signals: {
        ...(transmitter.delivery === 'push' && { listen: '127.0.0.1:0' }),
        transmitters: { idp: { issuer, audience: 'cambist', ...transmitter } },
      },
      routes: [{ name: 'socket', match: { path: '/socket' }, upstream: sockets.url }],
    }),
  });
  const { apps, authorizationServer: idp } = replicas;
  for (const app of apps) await waitUntilReady(app);
  const ago = (seconds: number) => Math.floor(Date.now() / 1000) - seconds;
  const caller = (sub: string, sid: string) => idp.mint({ subject: sub, claims: { sid, iat: ago(60) } });
  const subjectOf = (sub: string) => ({ format: 'iss_sub', iss: idp.issuer, sub });
  const signed = (type: string, subject: string, claims: Record<string, unknown>) =>
    idp.mint({ subject, audience: 'cambist', type, claims: { jti: Math.random().toString(36), ...claims } });
  const event = (sub: string) =>
    signed('secevent+jwt', sub, { sub_id: subjectOf(sub), events: { [CREDENTIAL_CHANGE]: {} } });
  return {
    ...replicas,
    caller,
    /** Calls a replica, and returns the status. */
    call: async (replica: number, token: string) => (await replicas.call(replica, token)).status,
    /** A signed event that revokes all tokens of a user. */
    event,
    /** Ends a session, by a signal to one replica: for the session, and for tokens of its user that name none. */
    async logout(replica: number, sub: string, sid: string): Promise<number> {
      const token = await signed('logout+jwt', sub, { events: LOGOUT, sid });
      return (await postLogout(apps[replica]?.signals, token)).status;
    },
    /** Revokes all tokens of a user, by a signal to one replica. */
    async push(replica: number, sub: string): Promise<number> {
      return (await postEvent(apps[replica]?.signals, await event(sub))).status;
    },
  };
}

/** Waits until a call is refused. */
export async function waitUntilRefused(call: () => Promise<number>, limitMs = RECONNECT_MS): Promise<void> {
  await eventually('the token is refused', async () => (await call()) === 401, limitMs);
}

/** Waits until a replica has noticed that the store is away. */
export async function waitUntilAway(app: RunningApp | undefined): Promise<void> {
  await eventually('it is seen', async () => (await revocationsOf(app)).in_sync === false);
}

/** Waits until replicas have read all revocations, and written their own. */
export async function waitUntilInSync(
  apps: readonly (RunningApp | undefined)[],
  limitMs = RECONNECT_MS,
): Promise<void> {
  const isInSync = async (app: RunningApp | undefined) => {
    const { in_sync, unshared } = await revocationsOf(app);
    return in_sync === true && unshared === 0;
  };
  for (const app of apps) await eventually('it is in sync', () => isInSync(app), limitMs, 250);
}

export async function waitUntilReady(app: RunningApp): Promise<void> {
  await eventually('it is ready', async () => (await fetch(`${app.admin}/readyz`)).ok, RECONNECT_MS, 100);
}

export async function revocationsOf(app: RunningApp | undefined): Promise<Record<string, unknown>> {
  const status = await (await fetch(`${app?.admin}/status.json`)).json();
  const { revocations, replicas } = (status as { signals: { revocations: number; replicas: object } }).signals;
  return { in_force: revocations, ...replicas };
}
