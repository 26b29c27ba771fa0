import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/free-port.ts';

/** A request as a server has read it. */
export interface Read {
  readonly method: string;
  readonly url: string;
  readonly body: string;
}

/** A real server behind cambist. */
export interface Reader {
  readonly url: string;
  readonly requests: Read[];
}

export const READERS: Record<string, (t: TestContext) => Promise<Reader>> = {
  node: startNode,
  go: startGo,
  nginx: startNginx,
};

async function startNode(t: TestContext): Promise<Reader> {
  const requests: Read[] = [];
  const server: Server = createServer(async (request, response) => {
    const body = await buffer(request).catch(() => undefined);
    if (body === undefined) return;
    const { method = '', url = '' } = request;
    requests.push({ method, url, body: body.toString('latin1') });
    response.end('ok');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

async function startGo(t: TestContext): Promise<Reader> {
  const cache = join(import.meta.dirname, '../../../.cache/framing');
  mkdirSync(cache, { recursive: true });
  const program = join(cache, 'reader');
  execFileSync('go', ['build', '-o', program, '.'], { cwd: join(import.meta.dirname, 'go'), stdio: 'inherit' });
  const child = spawn(program, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  const requests: Read[] = [];
  let port = 0;
  createInterface(child.stdout).on('line', (line) => {
    if (port === 0) port = Number(line);
    else requests.push(JSON.parse(line) as Read);
  });
  await eventually('the Go server listens', () => port !== 0);
  return { url: `http://127.0.0.1:${port}`, requests };
}

/** nginx buffers the body that it has read, and sends it with a length to a server that only reports. */
async function startNginx(t: TestContext): Promise<Reader> {
  const behind = await startNode(t);
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'cambist-nginx-'));
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const paths = folders.map((kind) => `${kind}_temp_path ${join(directory, kind)};`).join(' ');
  writeFileSync(
    join(directory, 'nginx.conf'),
    `daemon off; master_process off; pid ${directory}/pid; error_log stderr; events {}
http { access_log off; ${paths}
  server { listen 127.0.0.1:${port}; location / { proxy_pass ${behind.url}; } } }\n`,
  );
  const args = ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr'];
  const child = spawn('nginx', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  child.once('error', (error) => {
    throw new Error('nginx is missing: apt-get install nginx-light', { cause: error });
  });
  t.after(() => {
    child.kill();
    rmSync(directory, { recursive: true, force: true });
  });
  const url = `http://127.0.0.1:${port}`;
  await eventually('nginx listens', () => fetch(url).then(Boolean, () => false));
  behind.requests.length = 0;
  return { url, requests: behind.requests };
}
