import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import type { Launch } from '../../harness/cambist-process.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { keepParts, type Lifetime } from '../../harness/lifetime.ts';
import { startMcpSetup } from '../../harness/mcp-setup.ts';
import { type CommandResult, runProgram } from '../../harness/run-command.ts';

/** The host of the route, which DNS does not know. */
export const HOST = 'mcp.example.com';
export const MCP_URL = `https://${HOST}/mcp`;

export type InterceptSetup = Awaited<ReturnType<typeof startInterceptSetup>>;

export interface InterceptSetupOptions {
  readonly intercept?: Readonly<Record<string, unknown>>;
  readonly top?: Readonly<Record<string, unknown>>;
  /** The upstream's certificate is of an authority that the route does not trust. */
  readonly untrusted?: boolean;
  /**
   * Where the backend's TLS listens, and the name of its certificate. The default is `localhost` and an available port.
   * `socket`: a Unix socket, to which something else passes the connections to `port`.
   */
  readonly upstream?: { readonly host: string; readonly port: number } & (
    | { readonly address: string }
    | { readonly socket: string }
  );
  readonly launch?: Launch;
}

const AUTHORITY = createCertificateAuthority('Example Corp CA');

/** cambist with `intercept`, between an authorization server and an MCP backend with TLS that verifies its tokens. */
export async function startInterceptSetup(t: Lifetime, options: InterceptSetupOptions = {}) {
  const parts = keepParts();
  t.after(parts.close);
  const { host = 'localhost', ...at } = options.upstream ?? {};
  let backendUrl = '';
  const front = parts.keep(await startTlsFront(() => new URL(backendUrl), host, at));
  const port = options.upstream?.port ?? front.port;
  const { cambist, backends, leaks, subjectToken } = await startMcpSetup(parts, {
    change: (config, directory) => {
      [{ upstream: backendUrl }] = config.routes as [{ upstream: string }];
      return {
        ...config,
        intercept: { ca: { dir: join(directory, 'ca') }, trust_dir: join(directory, 'trust'), ...options.intercept },
        routes: [
          {
            name: 'mcp',
            match: { host: HOST, path: '/mcp' },
            upstream: `https://${host}:${port}${new URL(backendUrl).pathname}`,
            resource: backendUrl,
            ...(options.untrusted ? {} : { tls: { ca: { file: join(directory, 'upstream-ca.pem') } } }),
          },
          { name: 'other', match: { host: 'other.example.com' }, upstream: `https://${host}:${port}` },
        ],
        ...options.top,
      };
    },
    files: { 'upstream-ca.pem': AUTHORITY.cert },
    ...(options.launch && { launch: options.launch }),
  });
  const token = await subjectToken();
  const trustDir = join(cambist.directory, 'trust');
  return {
    cambist,
    backend: backends.github,
    trustDir,
    /** The variables in the trust folder: all that an agent gets. */
    variables: variablesIn(await readFile(join(trustDir, 'env'), 'utf8')),
    /** Watches for the client secret and the caller's token. */
    leaks,
    /** A caller's token, which the backend refuses. */
    token,
    /** The number of requests of a test that got here by one way. */
    arrivals: (way: string) => cambist.metric('cambist_arrivals_total', { route: 'mcp', way_in: way }),
  };
}

/** Terminates TLS before a backend. */
async function startTlsFront(
  backendUrl: () => URL,
  host: string,
  { address = '127.0.0.1', port = 0, socket }: { address?: string; port?: number; socket?: string },
): Promise<{ port: number; close(): void }> {
  const { cert, key } = AUTHORITY.issueServer({ hosts: [host] });
  const server = createServer({ cert, key }, (client) => {
    const { hostname, port } = backendUrl();
    const backend = connect(Number(port), hostname);
    client.on('error', () => backend.destroy()).on('close', () => backend.destroy());
    backend.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.pipe(backend).pipe(client);
  });
  server.listen(socket === undefined ? { port, host: address } : { path: socket });
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

/** Reads `NAME='value'` lines. No value of a test contains a quote. */
function variablesIn(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    [...text.matchAll(/^([A-Za-z_]+)='([^']*)'$/gm)].map(([, name = '', value = '']) => [name, value]),
  );
}

export const program = (name: string): string => join(import.meta.dirname, 'programs', name);

export const BODY = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'agent', version: '1' } },
});

/** The variables that lead to a proxy, in both spellings. */
export const PROXY_VARIABLES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()]);

/** The arguments of a call by curl, which prints its status. */
export const curlOf = ({ token }: Pick<InterceptSetup, 'token'>, url: string, ...more: readonly string[]): string[] => [
  ...['curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', '-X', 'POST', url, '--data', BODY, ...more],
  ...['-H', `Authorization: Bearer ${token}`, '-H', 'Content-Type: application/json'],
  ...['-H', 'Accept: application/json, text/event-stream'],
];

const LIMIT_SECONDS = '60';

/** Runs a client that gets the variables of the trust folder and nothing else. @param without variables to leave out */
export async function runClient(
  { variables, token }: InterceptSetup,
  command: readonly string[],
  { without = [] }: { readonly without?: readonly string[] } = {},
): Promise<CommandResult> {
  const { PATH = '', HOME = '' } = process.env;
  const given = Object.entries(variables).filter(([name]) => !without.includes(name));
  const env = Object.entries({ PATH, HOME, ...Object.fromEntries(given), URL: MCP_URL, TOKEN: token, BODY });
  const args = [LIMIT_SECONDS, 'env', '-i', ...env.map(([name, value]) => `${name}=${value}`), ...command];
  const result = await runProgram('timeout', args);
  return { ...result, stdout: result.stdout.trim() };
}
