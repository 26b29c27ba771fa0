import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { RunningAuthorizationServer } from '../../harness/authorization-server.ts';
import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/free-port.ts';

/** A server that accepts only tokens whose audience is its own URL. */
export interface ConformanceServer {
  url: string;
  close(): Promise<void>;
}

const PROGRAM = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-everything/dist/index.js'));
const GATE = fileURLToPath(new URL('gate-preload.ts', import.meta.url));

/** The official example server, with a bearer gate preloaded into its process. */
export async function startServerEverything({
  issuer,
  jwksUri,
}: RunningAuthorizationServer): Promise<ConformanceServer> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/mcp`;
  const child = spawn(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), '--import', GATE, PROGRAM, 'streamableHttp'],
    {
      env: { ...process.env, PORT: String(port), GATE_ISSUER: issuer, GATE_JWKS_URI: jwksUri, GATE_AUDIENCE: url },
      stdio: 'ignore',
    },
  );
  const exited = once(child, 'exit');
  await eventually('server-everything responds', () =>
    fetch(url).then(
      ({ status }) => status === 401,
      () => false,
    ),
  );
  return {
    url,
    close: async () => {
      child.kill();
      await exited;
    },
  };
}
