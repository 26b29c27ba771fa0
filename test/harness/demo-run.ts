import {
  brokenPromisesToAgent,
  callAgent,
  type DemoAgent,
  describeAgent,
  inboundFor,
  startDemoAgent,
} from './demo-agent.ts';
import { brokenPromises, makeCalls } from './demo-calls.ts';
import { keepRunning } from './demo-keep.ts';
import type { DemoOptions } from './demo-options.ts';
import { createPainter, describeFindings } from './demo-report.ts';
import { type McpSetupConfig, startMcpSetup } from './mcp-setup.ts';

/** The lifetime of the caller's token with `--keep`. */
const KEPT_TOKEN_TTL_SECONDS = 8 * 3600;

/** The route of the user's own backend. */
const OWN_ROUTE = 'mine';

/** Shows what cambist does with the calls of an agent. @returns whether everything was as promised */
export async function runDemo({ port, keep, backend }: DemoOptions): Promise<boolean> {
  const agent = await startDemoAgent();
  const setup = await startMcpSetup({ change: (config) => withAgent(changeConfig(config, port, backend), agent) });
  agent.backendUrl = setup.url('docs');
  try {
    const token = await setup.subjectToken(keep ? { ttlSeconds: KEPT_TOKEN_TTL_SECONDS } : {});
    const findings = await makeCalls(setup, token);
    console.log(describeFindings(findings, createPainter(process.stdout)));
    const broken = brokenPromises(setup, findings, token);
    const report = await callAgent(setup, token);
    console.log(describeAgent(report, createPainter(process.stdout)));
    broken.push(...brokenPromisesToAgent(report, token));
    for (const promise of broken) console.error(`Unexpected: ${promise}.`);
    if (broken.length > 0) return false;
    if (backend !== undefined) setup.authorizationServer.resources.set(backend, { scopes: [] });
    if (keep) await keepRunning(setup, findings, token, backend === undefined ? 'docs' : OWN_ROUTE);
    else console.log('To send requests yourself: npm run demo -- --keep');
    return true;
  } finally {
    await setup.close();
    await agent.close();
  }
}

function withAgent(config: McpSetupConfig, agent: DemoAgent): McpSetupConfig {
  const servers = config.authorization_servers as { readonly local: { readonly issuer: string } };
  return { ...config, inbound: inboundFor(agent, servers.local.issuer, 'my-agent') };
}

function changeConfig(config: McpSetupConfig, port: string | undefined, backend: string | undefined): McpSetupConfig {
  const own = { name: OWN_ROUTE, match: { path: `/${OWN_ROUTE}` }, upstream: backend, resource: backend };
  return {
    ...config,
    ...(port !== undefined && { listen: `127.0.0.1:${port}` }),
    ...(backend !== undefined && { routes: [...(config.routes as unknown[]), own] }),
  };
}
