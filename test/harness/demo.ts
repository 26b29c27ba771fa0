import { existsSync } from 'node:fs';
import { type DemoOptions, readDemoOptions, USAGE } from './demo-options.ts';
import { keepParts } from './lifetime.ts';
import { BUILT_PROGRAM } from './run-command.ts';

const EXIT = { done: 0, failed: 1, usage: 2 };

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let options: DemoOptions;
  try {
    options = readDemoOptions(args);
  } catch (error) {
    console.error(`${messageOf(error)}\n\n${USAGE}`);
    return EXIT.usage;
  }
  if (options.help) {
    console.log(USAGE);
    return EXIT.done;
  }
  if (!existsSync(BUILT_PROGRAM)) {
    console.error(`${BUILT_PROGRAM} is missing. Run "npm run build" first, or use "npm run demo", which runs it.`);
    return EXIT.failed;
  }
  try {
    return (await demonstrate(options)) ? EXIT.done : EXIT.failed;
  } catch (error) {
    console.error(`The demo failed: ${messageOf(error)}`);
    return EXIT.failed;
  }
}

/** Loads the servers and clients of the demo only now: it takes seconds. */
async function demonstrate(options: DemoOptions): Promise<boolean> {
  const parts = keepParts();
  try {
    const broken = options.consent
      ? await (await import('./demo-consent.ts')).demonstrateConsent(parts, options.keep, options.port)
      : await (await import('./demo-run.ts')).runDemo(parts, options);
    for (const promise of broken) console.error(`Unexpected: ${promise}.`);
    return broken.length === 0;
  } finally {
    await parts.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
