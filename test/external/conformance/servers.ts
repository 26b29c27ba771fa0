import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { RunningAuthorizationServer } from '../../harness/authorization-server.ts';
import { eventually } from '../../harness/eventually.ts';
import { closeServer, listen } from '../../harness/http-server.ts';

/** A server that takes no token but one whose audience is its own URL. */
export interface ConformanceServer {
  url: string;
  close(): Promise<void>;
}

const PROGRAM = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-everything/dist/index.js'));
const GATE = fileURLToPath(new URL('gate-preload.ts', import.meta.url));

/** The example server of the protocol's makers, with a gate loaded into its process. */
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
  await eventually('server-everything answers', () =>
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

/** The program takes its port from outside and does not say which one it got. */
async function freePort(): Promise<number> {
  const server = createServer();
  const { port } = await listen(server);
  await closeServer(server);
  return port;
}
