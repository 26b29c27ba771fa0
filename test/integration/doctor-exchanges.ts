import type { TestContext } from 'node:test';
import { INVALID_TOKEN } from '../../src/doctor/client-refusal.ts';
import {
  type Behaviour,
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  type TokenRequest,
} from '../harness/fake-authorization-server.ts';
import { type DoctorOptions, publicServer, route, runDoctor } from './doctor-run.ts';

/** Refuses the doctor's invalid token, as every real server does. Otherwise behaves as `behaviour` says. */
export function strict(behaviour: Behaviour): FakeAuthorizationServer['behaviour'] {
  return ({ form }: TokenRequest) =>
    form.get('subject_token') === INVALID_TOKEN || form.get('assertion') === INVALID_TOKEN
      ? { kind: 'response', status: 400, body: { error: 'invalid_grant' } }
      : behaviour;
}

export async function startServer(
  t: TestContext,
  behaviour: Behaviour = { kind: 'issue' },
): Promise<FakeAuthorizationServer> {
  const server = await startFakeAuthorizationServer();
  t.after(server.close);
  server.behaviour = strict(behaviour);
  return server;
}

export async function runOnRoute(
  t: TestContext,
  server: FakeAuthorizationServer,
  keys: Record<string, unknown> = {},
  options: DoctorOptions = {},
) {
  const token = options.token ?? (await server.mint());
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github', keys)],
  };
  return runDoctor(t, written, { token, ...options });
}
