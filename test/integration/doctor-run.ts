import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { systemClock } from '../../src/clock/clock.ts';
import type { ReportedFinding } from '../../src/commands/doctor.ts';
import { createCheckContext } from '../../src/doctor/check-context.ts';
import { openSpiffe } from '../../src/doctor/check-own-parts.ts';
import { INVALID_TOKEN } from '../../src/doctor/client-refusal.ts';
import { runChecks } from '../../src/doctor/run-checks.ts';
import { createDispatchers } from '../../src/transport/dispatchers.ts';
import { configOf, type WrittenConfig } from '../harness/app.ts';
import type { Certificate } from '../harness/certificates.ts';
import {
  type Behaviour,
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  type TokenRequest,
} from '../harness/fake-authorization-server.ts';
import { echo, type FakeUpstream, startFakeUpstream, type UpstreamHandler } from '../harness/fake-upstream.ts';

export interface DoctorOptions {
  token?: string;
  route?: string;
  call?: boolean;
}

/** Placeholder in a config for the address of a running backend. */
const BACKEND = 'http://127.0.0.1:9';

export async function runDoctor(
  t: TestContext,
  written: WrittenConfig,
  { token, route, call = false }: DoctorOptions = {},
) {
  const backend = await startFakeUpstream(t, echo);
  const config = configOf(JSON.parse(JSON.stringify(written).replaceAll(BACKEND, backend.url)));
  const spiffe = config.spiffe && (await openSpiffe(config.spiffe.socket));
  const dispatchers = createDispatchers(() => {}, {}, spiffe);
  t.after(() => dispatchers.destroy());
  const findings: ReportedFinding[] = [];
  await runChecks({
    config,
    only: config.routes.find(({ name }) => name === route),
    call,
    input: token === undefined ? undefined : { source: 'the test', token },
    context: createCheckContext(dispatchers.for, config.authorizationServers, systemClock),
    spiffe,
    reporter: {
      section() {},
      finding: (about, finding) => void findings.push({ about, ...finding }),
    },
  });
  spiffe?.close();
  return {
    findings,
    /** Errors and warnings, as `error code` or `warning code`. */
    problems: findings.filter(({ severity }) => severity !== 'ok').map(({ severity, code }) => `${severity} ${code}`),
    finding(code: string) {
      const found = findings.find((finding) => finding.code === code);
      if (found === undefined) throw new Error(`no ${code} among ${findings.map((finding) => finding.code)}`);
      return found;
    },
  };
}

/** Checks the errors and warnings of a run, and what the finding on the first of them says. */
export function assertFinds(
  { problems, finding }: Pick<Awaited<ReturnType<typeof runDoctor>>, 'problems' | 'finding'>,
  expected: readonly string[],
  says: RegExp,
): void {
  assert.deepEqual(problems, expected);
  const { what, why = '', fix = '' } = finding(expected[0]?.split(' ')[1] ?? '');
  assert.match(`${what} ${why} ${fix}`, says);
}

/** An authorization server with a public client, so tests need no secret. */
export function publicServer(issuer: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { issuer, client_id: 'cambist', client_auth: { method: 'none' }, timeout: '20s', ...more };
}

export function withMain({ issuer }: { readonly issuer: string }, ...routes: object[]): WrittenConfig {
  return { authorization_servers: { main: publicServer(issuer) }, routes };
}

export function route(name: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { name, match: { path: `/${name}` }, upstream: `${BACKEND}/mcp`, audience: 'backend', ...more };
}

export function startEcho(t: TestContext, tls?: Certificate & { clientCa?: string }): Promise<FakeUpstream> {
  return startFakeUpstream(t, echo, tls === undefined ? {} : { tls });
}

/** The findings on a backend of a route that exchanges tokens, as `severity code`. */
export async function runOnProtected(t: TestContext, handler: UpstreamHandler, keys: Record<string, unknown> = {}) {
  const server = await startFakeAuthorizationServer(t);
  server.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  const upstream = await startEcho(t);
  upstream.handler = handler;
  const github = route('github', { upstream: `${upstream.url}/mcp`, ...keys });
  const { findings, finding } = await runDoctor(t, withMain(server, github));
  const found = findings
    .filter(({ about }) => about.kind === 'route')
    .map(({ severity, code }) => `${severity} ${code}`);
  return { found, finding, server, upstream };
}

/** Refuses the doctor's invalid token, as every real server does. Otherwise behaves as `behaviour` says. */
export function strict(behaviour: Behaviour): FakeAuthorizationServer['behaviour'] {
  return ({ form }: TokenRequest) =>
    form.get('subject_token') === INVALID_TOKEN || form.get('assertion') === INVALID_TOKEN
      ? { kind: 'response', status: 400, body: { error: 'invalid_grant' } }
      : behaviour;
}

export async function startServer(t: TestContext, behaviour: Behaviour = { kind: 'issue' }) {
  const server = await startFakeAuthorizationServer(t);
  server.behaviour = strict(behaviour);
  return server;
}

export async function runOnRoute(t: TestContext, server: FakeAuthorizationServer, subjectToken?: string) {
  return runDoctor(t, withMain(server, route('github')), { token: subjectToken ?? (await server.mint()) });
}
