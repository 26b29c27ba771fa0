import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { freePort, startHttpServer } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { startServer } from '../../harness/server-process.ts';
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

const here = (name: string): string => join(import.meta.dirname, name);

export const READERS: Record<string, (t: TestContext) => Promise<Reader>> = {
  node: startNode,
  go: async (t) => startProgram(t, await installGoReader()),
  nginx: startNginx,
  gunicorn: startPython('gunicorn', '-'),
  // uvicorn has two parsers.
  'uvicorn-h11': startPython('uvicorn', 'h11'),
  'uvicorn-httptools': startPython('uvicorn', 'httptools'),
  tomcat: async (t) =>
    startProgram(t, 'java', '-XX:TieredStopAtLevel=1', '-cp', await installTomcat(), here('tomcat/Reader.java')),
};

async function startNode(t: TestContext): Promise<Reader> {
  const requests: Read[] = [];
  const server = await startHttpServer(async (request, response) => {
    const body = await buffer(request).catch(() => undefined);
    if (body === undefined) return;
    const { method = '', url = '' } = request;
    requests.push({ method, url, body: body.toString('latin1') });
    response.setHeader('content-length', 2);
    response.end('ok');
  });
  t.after(server.close);
  return { url: server.url, requests };
}

function startPython(...server: string[]): (t: TestContext) => Promise<Reader> {
  return async (t) =>
    startProgram(t, join(await installPythonReaders(), 'python'), here('python/reader.py'), ...server);
}

/** Starts a program that prints its port on the first line, and each request that it reads on a further line. */
async function startProgram(t: TestContext, command: string, ...args: readonly string[]): Promise<Reader> {
  const child = spawn(command, args, { cwd: temporaryFolder(t), stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill());
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
  const cwd = temporaryFolder(t);
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const paths = folders.map((kind) => `${kind}_temp_path ${join(cwd, kind)};`).join(' ');
  writeFileSync(
    join(cwd, 'nginx.conf'),
    `daemon off; master_process off; pid ${cwd}/pid; error_log stderr; events {}
http { access_log off; ${paths}
  server { listen 127.0.0.1:${port}; location / { proxy_pass ${behind.url}; } } }\n`,
  );
  const url = `http://127.0.0.1:${port}`;
  const args = ['-p', cwd, '-c', 'nginx.conf', '-e', 'stderr'];
  t.after((await startServer({ command: 'nginx', args, cwd, readyUrl: url })).close);
  behind.requests.length = 0;
  return { url, requests: behind.requests };
}
