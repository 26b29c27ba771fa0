import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { brokenPromises, DISCOVER, DISCOVER_HEADERS, INITIALIZE, makeCalls } from './demo-calls.ts';
import { createPainter, describeFindings } from './demo-report.ts';
import { BUILT_PROGRAM } from './run-command.ts';
import { startWorld, type World, type WorldConfig } from './world.ts';

const USAGE = `Usage: npm run demo [-- --keep [--backend URL]]

Starts an authorization server, two MCP backends and cambist between them on free ports, calls both backends with the
official MCP client, and prints what happened.
  --keep         leave all of it running, with a request to try, until Ctrl-C
  --backend URL  put cambist before a backend of your own too, as the route "mine"
`;

const OPTIONS = {
  keep: { type: 'boolean', default: false },
  backend: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

interface DemoOptions {
  readonly keep: boolean;
  readonly backend?: string;
  readonly help: boolean;
}

const EXIT = { done: 0, failed: 1, usage: 2 };

/** How long the caller's token lives where there is time to try things. */
const KEPT_TOKEN_TTL_SECONDS = 8 * 3600;

/** How far behind the log file may be. */
const LOG_PAUSE_MS = 500;

/** The route of the user's own backend. */
const OWN_ROUTE = 'mine';

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let options: DemoOptions;
  try {
    options = parseArgs({ args, options: OPTIONS }).values;
    if (options.backend !== undefined && (!options.keep || !URL.canParse(options.backend))) {
      throw new Error('--backend takes the URL of an MCP server, and goes with --keep.');
    }
  } catch (error) {
    console.error(`${sentence(error)}\n\n${USAGE}`);
    return EXIT.usage;
  }
  if (options.help) {
    console.log(USAGE);
    return EXIT.done;
  }
  if (!existsSync(BUILT_PROGRAM)) {
    console.error(`${BUILT_PROGRAM} is not there: run "npm run build" first, or "npm run demo", which does.`);
    return EXIT.failed;
  }
  try {
    return await show(options);
  } catch (error) {
    console.error(`The demo did not come to its end: ${sentence(error)}`);
    return EXIT.failed;
  }
}

async function show({ keep, backend }: DemoOptions): Promise<number> {
  const world = await startWorld(backend === undefined ? {} : { change: (config) => withBackend(config, backend) });
  try {
    const token = await world.subjectToken(keep ? { ttlSeconds: KEPT_TOKEN_TTL_SECONDS } : {});
    const findings = await makeCalls(world, token);
    console.log(describeFindings(findings, createPainter(process.stdout)));
    const broken = brokenPromises(world, findings, token);
    for (const promise of broken) console.error(`Not as promised: ${promise}.`);
    if (broken.length > 0) return EXIT.failed;
    if (backend !== undefined) world.authorizationServer.resources.set(backend, { scopes: [] });
    if (keep) await keepRunning(world, token, backend === undefined ? 'docs' : OWN_ROUTE);
    else console.log('Try it yourself, with curl: npm run demo -- --keep');
    return EXIT.done;
  } finally {
    await world.close();
  }
}

function withBackend(config: WorldConfig, backend: string): WorldConfig {
  const own = { name: OWN_ROUTE, match: { path: `/${OWN_ROUTE}` }, upstream: backend, resource: backend };
  return { ...config, routes: [...(config.routes as unknown[]), own] };
}

async function keepRunning(world: World, token: string, route: string): Promise<void> {
  const tokenFile = join(world.cambist.directory, 'alice');
  await writeFile(tokenFile, token, { mode: 0o600 });
  const logFile = join(world.cambist.directory, 'cambist.log');
  const logging = setInterval(() => void writeFile(logFile, world.cambist.stdout()), LOG_PAUSE_MS);
  console.log(`Running until Ctrl-C. In another terminal:

  curl -i ${world.cambist.url}/${route} -H "Authorization: Bearer $(cat ${tokenFile})" \\
    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
    -d '${INITIALIZE}'
${route === OWN_ROUTE ? describeDiscover(`${world.cambist.url}/${route}`, tokenFile) : ''}
  agent    ${world.cambist.url}/${route}
  config   ${world.cambist.configFile}
  log      ${logFile}
  page     ${world.cambist.adminUrl}/
  metrics  ${world.cambist.adminUrl}/metrics
  issuer   ${world.authorizationServer.issuer}
  keys     ${world.authorizationServer.jwksUri}`);
  await new Promise<void>((resolve) => {
    // For good: a terminal and a runner in between may each send one.
    process.on('SIGINT', resolve);
    process.on('SIGTERM', resolve);
    void world.cambist.exit.then(() => resolve());
  });
  clearInterval(logging);
}

/** For a backend that knows MCP revision 2026-07-28 alone, which rejects `initialize`. */
function describeDiscover(url: string, tokenFile: string): string {
  const headers = Object.entries(DISCOVER_HEADERS).map(([name, value]) => `-H '${name}: ${value}'`);
  return `
If your backend supports only MCP revision 2026-07-28:

  curl -i ${url} -H "Authorization: Bearer $(cat ${tokenFile})" \\
    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
    ${headers.join(' ')} \\
    -d '${DISCOVER}'
`;
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
