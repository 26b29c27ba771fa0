import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { soon } from '../harness/eventually.ts';
import { freePort, startHttpServer } from '../harness/http-server.ts';

/** Only a failing test waits this long. */
const LIMIT_MS = 300_000;

const DEMO = fileURLToPath(new URL('../harness/demo.ts', import.meta.url));

function startDemo(...args: string[]) {
  const env = { ...process.env, NO_COLOR: '1' };
  return spawn(process.execPath, ['--import', 'tsx', DEMO, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

function exitOf(child: ReturnType<typeof startDemo>): Promise<number | null> {
  return new Promise((resolve) => child.once('close', resolve));
}

/** The output of a demo that keeps running, once it is complete. */
function outputOf(child: ReturnType<typeof startDemo>): Promise<string> {
  let out = '';
  const complete = new Promise<string>((resolve) => {
    child.stdout.on('data', (part: Buffer) => {
      out += part.toString();
      if (/algorithm .*\n/.test(out)) resolve(out);
    });
  });
  return soon('the demo runs', complete, LIMIT_MS);
}

interface PrintedCall {
  readonly url: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** The curl commands in the output, as requests. */
function readCalls(out: string): Promise<PrintedCall[]> {
  const commands = out.match(/curl -i[\s\S]*?-d '.*'/g) ?? [];
  return Promise.all(
    commands.map(async (command) => {
      const [, url = '', file = ''] = /curl -i (\S+) -H "Authorization: Bearer \$\(cat (\S+)\)"/.exec(command) ?? [];
      const headers = [...command.matchAll(/-H '([^:']+): ([^']+)'/g)].map(([, name = '', value = '']) => [
        name,
        value,
      ]);
      const authorization = `Bearer ${await readFile(file, 'utf8')}`;
      const body = /-d '(.*)'/.exec(command)?.[1] ?? '';
      return { url, method: 'POST', headers: { ...Object.fromEntries(headers), authorization }, body };
    }),
  );
}

/** Runs the demo to its end, which must be a success. */
async function successfulOutput(t: TestContext, ...args: string[]): Promise<string> {
  const child = startDemo(...args);
  t.after(() => child.kill('SIGKILL'));
  const ended = Promise.all([text(child.stdout), text(child.stderr), exitOf(child)]);
  const [out, err, code] = await soon('the demo exits', ended, LIMIT_MS);
  assert.equal(code, 0, `${out}\n${err}`);
  assert.equal(err, '');
  return out;
}

test('shows the refusal of the broad token, a token for each backend and the cache, and exits', async (t) => {
  const out = await successfulOutput(t);
  assert.match(out, /one token, signed with ES256\. Its audience \(aud\) is: my-agent, cambist$/m);
  const rows = out.split('\n').filter((line) => /^ {2}(?:github|docs) /.test(line));
  const cells = rows.map((line) => line.trim().split(/ {2,}/));
  assert.deepEqual(
    cells.map((row) => row.slice(0, -1)),
    [
      ['github', 'directly', '2026-07-28', 'server/discover', '401', '-', 'alice'],
      ['github', 'cambist', '2026-07-28', 'server/discover', '200', 'miss', 'alice'],
      ['github', 'cambist', '2026-07-28', 'tools/list', '200', 'hit', 'alice'],
      ['github', 'cambist', '2026-07-28', 'tools/call whoami', '200', 'hit', 'alice'],
      ['docs', 'cambist', '2025-11-25', 'initialize', '200', 'miss', 'alice'],
      ['docs', 'cambist', '2025-11-25', 'tools/list', '200', 'hit', 'alice'],
      ['docs', 'cambist', '2025-11-25', 'tools/call whoami', '200', 'hit', 'alice'],
    ],
  );
  const [direct, ...issued] = cells.map((row) => row.at(-1) ?? '');
  assert.equal(direct, 'my-agent, cambist');
  for (const audience of issued) assert.match(audience, /^http:/);
  assert.equal(new Set(issued.slice(0, 3)).size, 1, 'one audience for github');
  assert.equal(new Set(issued.slice(3)).size, 1, 'one audience for docs');
  assert.equal(new Set(issued).size, 2, 'each backend has its own audience');
  assert.match(out, /^2 token exchanges for 6 requests through cambist/m);
  const agent = out.slice(out.indexOf('This is everything that the agent was given'));
  assert.match(agent, /^ {2}authorization: Bearer cbh_[\w-]{43}$/m);
  assert.match(agent, /^ {2}x-user-id: alice$/m);
  assert.match(agent, /^ {2}Which user am I\?$/m);
  assert.doesNotMatch(out, /eyJ[\w-]{8}/);
  assert.match(agent, /The backend then sees: alice\nWithout it, .* 401\.$/m);
});

test('prints requests that succeed on the port of --port with --keep, and exits on Ctrl-C', async (t) => {
  const port = await freePort();
  const child = startDemo('--keep', '--port', String(port));
  t.after(() => child.kill('SIGKILL'));
  const out = await outputOf(child);
  const calls = await readCalls(out);
  assert.deepEqual(
    calls.map(({ body }) => (JSON.parse(body) as { method: string }).method),
    ['server/discover', 'initialize'],
  );
  for (const { url, ...init } of calls) {
    assert.equal(url, `http://127.0.0.1:${port}/docs`);
    const response = await fetch(url, init);
    assert.equal(response.status, 200);
    assert.match(await response.text(), /serverInfo/);
  }
  const [, file = ''] = /^ {2}token +cat (\S+)$/m.exec(out) ?? [];
  assert.equal(`Bearer ${await readFile(file, 'utf8')}`, calls[0]?.headers.authorization);
  assert.match(out, /^ {2}algorithm ES256/m);
  const exit = exitOf(child);
  child.kill('SIGINT');
  assert.equal(await soon('the demo exits', exit, 20_000), 0);
});

test('prints a request for another backend of MCP revision 2026-07-28', async (t) => {
  const received: IncomingHttpHeaders[] = [];
  const backend = await startHttpServer((request, response) => {
    received.push(request.headers);
    response.end('{}');
  });
  t.after(backend.close);
  const child = startDemo('--keep', '--backend', `${backend.url}/mcp`);
  t.after(() => child.kill('SIGKILL'));
  const [{ url, ...init } = assert.fail('the demo printed no request')] = await readCalls(await outputOf(child));
  const response = await fetch(url, init);
  assert.equal(response.status, 200);
  assert.equal(received.length, 1);
  assert.equal(received[0]?.['mcp-method'], 'server/discover');
  assert.equal(received[0]?.['mcp-protocol-version'], '2026-07-28');
  const exit = exitOf(child);
  child.kill('SIGINT');
  assert.equal(await soon('the demo exits', exit, 20_000), 0);
});

test('rejects an unknown option with its usage', async (t) => {
  const child = startDemo('--kept');
  t.after(() => child.kill('SIGKILL'));
  const [err, code] = await Promise.all([text(child.stderr), exitOf(child)]);
  assert.equal(code, 2);
  assert.match(err, /--kept/);
  assert.match(err, /Usage: npm run demo/);
});

test('shows a call that needs consent with --consent, and exits', async (t) => {
  const out = await successfulOutput(t, '--consent');
  assert.match(out, /consent needed {3}Your consent is needed before [\d.:]+ can be used\.$/m);
  assert.match(out, /open +https:\/\/localhost:\d+\/connect\?ticket=\S+$/m);
  assert.match(
    out,
    /alice signed in there and consented\n {2}tools\/call echo +200 +hello\n {2}tools\/call echo +200 +hello again$/m,
  );
});
