import { parseArgs } from 'node:util';

export const USAGE = `Usage: npm run demo [-- [--port PORT] [--consent] [--keep [--backend URL]]]

Starts an authorization server, two MCP backends, and cambist between them. Calls the backends with official MCP clients and
prints the result.
  --port PORT    port of 127.0.0.1 where cambist listens; the default is any available port
  --consent      shows a call that needs the user's consent instead; with --keep, you consent in a browser
  --keep         keeps everything running until Ctrl-C, and prints requests to try
  --backend URL  with --keep: adds your own MCP backend as the route "mine"
`;

const OPTIONS = {
  port: { type: 'string' },
  consent: { type: 'boolean', default: false },
  keep: { type: 'boolean', default: false },
  backend: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

export interface DemoOptions {
  readonly port?: string;
  readonly consent: boolean;
  readonly keep: boolean;
  readonly backend?: string;
  readonly help: boolean;
}

const MAX_PORT = 65_535;

/** @throws Error for an unknown option, an invalid value or an invalid combination */
export function readDemoOptions(args: readonly string[]): DemoOptions {
  const options = parseArgs({ args: [...args], options: OPTIONS }).values;
  checkOptions(options);
  return options;
}

function checkOptions({ port, keep, backend, consent }: DemoOptions): void {
  if (port !== undefined && !(/^\d+$/.test(port) && Number(port) <= MAX_PORT)) {
    throw new Error(`Invalid --port "${port}": use a number from 0 to ${MAX_PORT}.`);
  }
  if (backend === undefined) return;
  if (!keep) throw new Error('--backend requires --keep.');
  if (consent) throw new Error('--backend has no effect with --consent.');
  if (!URL.canParse(backend)) throw new Error(`Invalid --backend "${backend}": use the URL of an MCP server.`);
}
