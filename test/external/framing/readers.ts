import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/http-server.ts';
import { installGoReader, installPythonReaders, installTomcat } from '../installs.ts';

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

/** Java compiles its program first. */
const START_MS = 120_000;

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export const READERS: Record<string, (t: TestContext) => Promise<Reader>> = {
  node: startNode,
  go: startGo,
  nginx: startNginx,
  gunicorn: startPython('gunicorn', '-'),
  // uvicorn has two parsers.
  'uvicorn-h11': startPython('uvicorn', 'h11'),
  'uvicorn-httptools': startPython('uvicorn', 'httptools'),
  tomcat: startTomcat,
};

async function startNode(t: TestContext): Promise<Reader> {
  const requests: Read[] = [];
  const server: Server = createServer(async (request, response) => {
    const body = await buffer(request).catch(() => undefined);
    if (body === undefined) return;
    const { method = '', url = '' } = request;
    requests.push({ method, url, body: body.toString('latin1') });
    response.setHeader('content-length', 2);
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
  return startProgram(t, await installGoReader(), []);
}

function startPython(...server: string[]): (t: TestContext) => Promise<Reader> {
  return async (t) =>
    startProgram(t, join(await installPythonReaders(), 'python'), [here('python/reader.py'), ...server]);
}

async function startTomcat(t: TestContext): Promise<Reader> {
  return startProgram(t, 'java', ['-XX:TieredStopAtLevel=1', '-cp', await installTomcat(), here('tomcat/Reader.java')]);
}

/** Starts a program that prints its port on the first line, and each request that it reads on a further line. */
async function startProgram(t: TestContext, command: string, args: readonly string[]): Promise<Reader> {
  const directory = mkdtempSync(join(tmpdir(), 'cambist-reader-'));
  const child = spawn(command, args, { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => {
    child.kill();
    rmSync(directory, { recursive: true, force: true });
  });
  const requests: Read[] = [];
  let port = 0;
  createInterface(child.stdout).on('line', (line) => {
    if (port === 0) port = Number(line);
    else requests.push(JSON.parse(line) as Read);
  });
  await eventually(`${command} listens`, () => port !== 0, START_MS);
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
