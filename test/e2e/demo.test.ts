import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { soon } from '../harness/eventually.ts';
import { startHttpServer } from '../harness/http-server.ts';

const DEMO = fileURLToPath(new URL('../harness/demo.ts', import.meta.url));

function startDemo(...args: string[]) {
  const env = { ...process.env, NO_COLOR: '1' };
  return spawn(process.execPath, ['--import', 'tsx', DEMO, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

function exitOf(child: ReturnType<typeof startDemo>): Promise<number | null> {
  return new Promise((resolve) => child.once('close', resolve));
}

test('the demo shows a token for each backend and the refusal of the broad one, and ends by itself', async (t) => {
  const child = startDemo();
  t.after(() => child.kill('SIGKILL'));
  const [out, err, code] = await soon(
    'the end of the demo',
    Promise.all([text(child.stdout), text(child.stderr), exitOf(child)]),
    60_000,
  );
  assert.equal(code, 0, `${out}\n${err}`);
  assert.equal(err, '');
  assert.match(out, /holds one token\. {2}aud: my-agent, cambist$/m);
  const rows = [...out.matchAll(/^ {2}(github|docs) +(\S+(?: \S+)?) +(hit|miss) +alice +(http:\S+)$/gm)];
  assert.deepEqual(
    rows.map(([, backend, what, cache]) => [backend, what?.trim(), cache]),
    ['github', 'docs'].flatMap((backend) => [
      [backend, 'initialize', 'miss'],
      [backend, 'tools/list', 'hit'],
      [backend, 'tools/call whoami', 'hit'],
      [backend, 'tools/call whoami', 'hit'],
    ]),
  );
  const audiences = (name: string) => new Set(rows.filter(([, backend]) => backend === name).map((row) => row[4]));
  assert.equal(audiences('github').size, 1);
  assert.equal(audiences('docs').size, 1);
  assert.equal(new Set([...audiences('github'), ...audiences('docs')]).size, 2, 'each backend has its own audience');
  assert.match(out, /2 token exchanges for 8 requests/);
  assert.match(out, /Sent straight to github, it is refused: 401 Bearer error="invalid_token"/);
});

test('a demo that is kept prints a request that works, and leaves with Ctrl-C', async (t) => {
  const child = startDemo('--keep');
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  const kept = new Promise<string>((resolve) => {
    child.stdout.on('data', (part: Buffer) => {
      out += part.toString();
      if (/metrics {2}http\S+\n/.test(out)) resolve(out);
    });
  });
  const [, url = '', file = ''] =
    /curl -i (\S+) -H "Authorization: Bearer \$\(cat (\S+)\)"/.exec(await soon('the demo runs', kept, 60_000)) ?? [];
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${await readFile(file, 'utf8')}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    body: /-d '(.*)'/.exec(out)?.[1] ?? '',
  });
  assert.equal(response.status, 200);
  assert.match(await response.text(), /serverInfo/);
  const exit = exitOf(child);
  child.kill('SIGINT');
  assert.equal(await soon('the demo ends', exit, 20_000), 0);
});

test('the demo prints a request for a backend of MCP revision 2026-07-28', async (t) => {
  const received: IncomingHttpHeaders[] = [];
  const backend = await startHttpServer((request, response) => {
    received.push(request.headers);
    response.end('{}');
  });
  t.after(backend.close);
  const child = startDemo('--keep', '--backend', `${backend.url}/mcp`);
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  const printed = new Promise<string>((resolve) => {
    child.stdout.on('data', (part: Buffer) => {
      out += part.toString();
      if (/keys {5}http\S+\n/.test(out)) resolve(out);
    });
  });
  const text = await soon('the demo runs', printed, 60_000);
  const command = text.slice(text.indexOf('only MCP revision 2026-07-28'));
  const [, url = '', file = ''] = /curl -i (\S+) -H "Authorization: Bearer \$\(cat (\S+)\)"/.exec(command) ?? [];
  const headers = [...command.matchAll(/-H '([^:']+): ([^']+)'/g)].map(([, name = '', value = '']) => [name, value]);
  const response = await fetch(url, {
    method: 'POST',
    headers: { ...Object.fromEntries(headers), authorization: `Bearer ${await readFile(file, 'utf8')}` },
    body: /-d '(.*)'/.exec(command)?.[1] ?? '',
  });
  assert.equal(response.status, 200);
  assert.equal(received.length, 1);
  assert.equal(received[0]?.['mcp-method'], 'server/discover');
  assert.equal(received[0]?.['mcp-protocol-version'], '2026-07-28');
  const exit = exitOf(child);
  child.kill('SIGINT');
  assert.equal(await soon('the demo ends', exit, 20_000), 0);
});

test('the demo refuses a flag that it does not know', async (t) => {
  const child = startDemo('--kept');
  t.after(() => child.kill('SIGKILL'));
  const [err, code] = await Promise.all([text(child.stderr), exitOf(child)]);
  assert.equal(code, 2);
  assert.match(err, /--kept[\s\S]*Usage: npm run demo/);
});
