import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { brokenPromises, INITIALIZE, makeCalls } from './demo-calls.ts';
import { createPainter, describeFindings } from './demo-report.ts';
import { BUILT_PROGRAM } from './run-command.ts';
import { startWorld, type World } from './world.ts';

const USAGE = `Usage: npm run demo [-- --keep]

Starts an authorization server, two MCP backends and cambist between them on free ports, calls both backends with the
official MCP client, and prints what happened.
  --keep    leave all of it running, with a request to try, until Ctrl-C
`;

const EXIT = { done: 0, failed: 1, usage: 2 };

/** How long the caller's token lives where there is time to try things. */
const KEPT_TOKEN_TTL_SECONDS = 8 * 3600;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let options: { keep?: boolean; help?: boolean };
  try {
    options = parseArgs({ args, options: { keep: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } }).values;
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
    return await show(options.keep ?? false);
  } catch (error) {
    console.error(`The demo did not come to its end: ${sentence(error)}`);
    return EXIT.failed;
  }
}

async function show(keep: boolean): Promise<number> {
  const world = await startWorld();
  try {
    const token = await world.subjectToken(keep ? { ttlSeconds: KEPT_TOKEN_TTL_SECONDS } : {});
    const findings = await makeCalls(world, token);
    console.log(describeFindings(findings, createPainter(process.stdout)));
    const broken = brokenPromises(world, findings, token);
    for (const promise of broken) console.error(`Not as promised: ${promise}.`);
    if (broken.length > 0) return EXIT.failed;
    if (keep) await keepRunning(world, token);
    else console.log('Try it yourself, with curl: npm run demo -- --keep');
    return EXIT.done;
  } finally {
    await world.close();
  }
}

async function keepRunning(world: World, token: string): Promise<void> {
  const tokenFile = join(world.cambist.directory, 'alice');
  await writeFile(tokenFile, token, { mode: 0o600 });
  console.log(`Running until Ctrl-C. In another terminal:

  curl -i ${world.url('docs')} -H "Authorization: Bearer $(cat ${tokenFile})" \\
    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
    -d '${INITIALIZE}'

  config   ${world.cambist.configFile}
  metrics  ${world.cambist.adminUrl}/metrics`);
  await new Promise<void>((resolve) => {
    // For good: a terminal and a runner in between may each send one.
    process.on('SIGINT', resolve);
    process.on('SIGTERM', resolve);
    void world.cambist.exit.then(() => resolve());
  });
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
