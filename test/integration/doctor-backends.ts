import type { TestContext } from 'node:test';
import type { Certificate } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type FakeUpstream, startFakeUpstream, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { echo } from '../harness/upstream-handlers.ts';
import { publicServer, route, runDoctor } from './doctor-run.ts';

export async function startUpstream(t: TestContext, tls?: Certificate & { clientCa?: string }): Promise<FakeUpstream> {
  const upstream = await startFakeUpstream(echo, tls === undefined ? {} : { tls });
  t.after(upstream.close);
  return upstream;
}

/** The findings on a backend of a route that exchanges tokens, as `severity code`. */
export async function runOnProtected(t: TestContext, handler: UpstreamHandler, keys: Record<string, unknown> = {}) {
  const server = await startFakeAuthorizationServer();
  t.after(server.close);
  server.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  const upstream = await startUpstream(t);
  upstream.handler = handler;
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github', { upstream: `${upstream.url}/mcp`, ...keys })],
  };
  const { findings, finding } = await runDoctor(t, written);
  const found = findings
    .filter(({ about }) => about.kind === 'route')
    .map(({ severity, code }) => `${severity} ${code}`);
  return { found, finding, server, upstream };
}
