import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { proxyVariables, trustVariables } from '../../../src/intercept/agent-variables.ts';
import { startAuthorizationServer } from '../../harness/authorization-server.ts';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { secretClient } from '../../harness/fake-authorization-server.ts';
import { freePort } from '../../harness/http-server.ts';
import { startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { runCommand, succeeded } from '../../harness/run-command.ts';
import { startServer } from '../../harness/server-process.ts';
import { startDataPlane } from '../dataplanes/data-plane.ts';
import { envoy } from '../dataplanes/planes.ts';
import { installConformance } from '../installs.ts';
import { differences, tally, withoutForeignHost } from './compare.ts';
import { REVISIONS, type Revision, runSuite, type SuiteResult } from './suite.ts';

const SECRET = randomBytes(24).toString('base64url');
const suite = await installConformance();
const clients = { cambist: { method: 'client_secret_basic', secret: SECRET } } as const;
const authorizationServer = await startAuthorizationServer({ clients });
after(authorizationServer.close);

/** @param match with a host if the server refuses foreign hosts, and without a host if it does not check them */
async function startProxy(t: TestContext, { url }: Server, match: Match): Promise<CambistProcess> {
  // A port of its own, because the config of Envoy names it.
  const listen = `127.0.0.1:${await freePort()}`;
  authorizationServer.resources.set(url, { scopes: ['tools'] });
  return startCambist(t, {
    config: (directory) => ({
      listen,
      decisions: { http: { listen: `unix:${join(directory, 'decisions.sock')}` } },
      authorization_servers: { local: secretClient(authorizationServer, directory) },
      intercept: { trust_dir: join(directory, 'trust') },
      routes: [{ name: 'server', match, upstream: url }],
    }),
    files: { 'client-secret': SECRET },
  });
}

/** Accepts only tokens whose audience is its own URL. */
interface Server {
  readonly url: string;
}

interface Match {
  host?: string;
  path: string;
}

interface Run {
  direct: SuiteResult;
  proxied: SuiteResult;
}

/** Starts an Envoy that asks cambist about each request. @returns its URL */
async function startAsking(t: TestContext, { configFile }: CambistProcess): Promise<string> {
  const printed = succeeded(await runCommand(['snippet', 'envoy', '--config', configFile]));
  return startDataPlane(t, envoy, printed, '/mcp');
}

/**
 * Runs the suite. Its sampling scenario sometimes times out, with and without cambist, because its client opens the session's stream
 * during the call. Such a run has no result and is repeated, with a message.
 */
async function measure(
  url: string,
  revision: Revision,
  bearer: string,
  variables: Readonly<Record<string, string>> = {},
): Promise<SuiteResult> {
  const run = await runSuite(suite, url, revision, bearer, variables);
  const hasTimedOut = [...run.scenarios.values()].flat().some(({ id }) => id === 'scenario-timeout');
  if (!hasTimedOut) return run;
  console.log(`a scenario timed out at ${url}; repeating the run`);
  return runSuite(suite, url, revision, bearer, variables);
}

/**
 * Runs the suite at a server and through cambist.
 * @param isIntercepted it calls https, and knows cambist by variables alone. Its Node has no exception for loopback here
 */
async function runBoth(
  t: TestContext,
  server: Server,
  revision: Revision,
  match: Match,
  isIntercepted = false,
): Promise<Run & { proxy: CambistProcess; callers: string }> {
  const proxy = await startProxy(t, server, match);
  await proxy.ready();
  const own = await authorizationServer.issueSubjectToken({ sub: 'alice', audience: server.url });
  const callers = await authorizationServer.issueSubjectToken({ sub: 'alice', audience: ['agent', 'cambist'] });
  const trust = trustVariables(join(proxy.directory, 'trust'));
  const variables = isIntercepted ? { ...proxyVariables(proxy.url), ...trust, NO_PROXY: '', no_proxy: '' } : {};
  const direct = await measure(server.url, revision, own);
  const url = isIntercepted ? `https://${match.host}:8443/mcp` : `${proxy.url}/mcp`;
  const proxied = await measure(url, revision, callers, variables);
  const byBaseUrl = await proxy.metric('cambist_arrivals_total', { route: 'server', way_in: 'base_url' });
  assert.equal(byBaseUrl === 0, isIntercepted);
  const exchanges = await proxy.metric('cambist_exchanges_total', { result: 'success' });
  assert.ok(exchanges > 0, 'cambist exchanges tokens');
  return { direct, proxied, proxy, callers };
}

function report(name: string, revision: Revision, { direct, proxied }: Run): string[] {
  const found = differences(direct, proxied);
  console.log(`${name}, ${revision}, ${direct.scenarios.size} scenarios`);
  console.log(`  directly        ${tally(direct)}`);
  console.log(`  through cambist ${tally(proxied)}`);
  console.log(`  ${found.length === 0 ? 'no difference' : `differences: ${found.length}`}`);
  for (const difference of found) console.log(`  ${difference}`);
  return found;
}

const PROGRAM = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-everything/dist/index.js'));
const GATE = fileURLToPath(new URL('gate-preload.ts', import.meta.url));

/** The official example server, with a bearer gate preloaded into its process. */
async function startServerEverything(t: TestContext): Promise<Server> {
  const { issuer, jwksUri } = authorizationServer;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/mcp`;
  const env = { PORT: String(port), GATE_ISSUER: issuer, GATE_JWKS_URI: jwksUri, GATE_AUDIENCE: url };
  const args = ['--import', import.meta.resolve('tsx'), '--import', GATE, PROGRAM, 'streamableHttp'];
  const readyUrl = async () => (await fetch(url)).status === 401;
  t.after((await startServer({ command: process.execPath, args, env, cwd: '.', readyUrl })).close);
  return { url };
}

for (const revision of REVISIONS) {
  test(`a server of the SDK 2.x has the same results for ${revision} through an intercepted connection`, async (t) => {
    const server = await startMcpBackend(t, { ...authorizationServer, checksHost: true });
    const run = await runBoth(t, server, revision, { host: '127.0.0.1', path: '/mcp' }, true);
    const [direct, proxied] = [withoutForeignHost(run.direct), withoutForeignHost(run.proxied)];
    assert.match(proxied.error, /unrecognized name/);
    assert.deepEqual(
      report('fixture, intercepted', revision, { ...run, direct: direct.rest, proxied: proxied.rest }),
      [],
    );
    assert.ok(run.direct.passed, run.direct.output);
  });

  test(`a server of the SDK 2.x passes all checks of ${revision}, directly, through cambist and through an Envoy that asks it`, async (t) => {
    const server = await startMcpBackend(t, { ...authorizationServer, checksHost: true });
    const run = await runBoth(t, server, revision, { host: '127.0.0.1', path: '/mcp' });
    assert.deepEqual(report('fixture', revision, run), []);
    assert.ok(run.direct.passed, run.direct.output);
    assert.ok(run.proxied.passed, run.proxied.output);
    const decided = await measure(`${await startAsking(t, run.proxy)}/mcp`, revision, run.callers);
    // Envoy has no route for a foreign Host: 404, as deploy/dataplanes/envoy.md says.
    const [direct, proxied] = [withoutForeignHost(run.direct).rest, withoutForeignHost(decided).rest];
    assert.deepEqual(report('fixture, by Envoy', revision, { direct, proxied }), []);
    assert.ok(decided.passed, decided.output);
    assert.ok((await run.proxy.metric('cambist_decisions_total', { result: 'allowed' })) > 0);
  });

  test(`server-everything has the same results for ${revision} directly and through cambist`, async (t) => {
    const run = await runBoth(t, await startServerEverything(t), revision, { path: '/mcp' });
    assert.deepEqual(report('server-everything', revision, run), []);
    assert.ok(run.direct.scenarios.size > 0, run.direct.output);
  });
}
