import assert from 'node:assert/strict';
import { type IncomingMessage, request } from 'node:http';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type FakeSetup, SETUP_ROUTE, startFakeSetup } from '../../harness/fake-setup.ts';
import { residentBytes } from '../../harness/process-figures.ts';
import { flood, respond } from '../../harness/upstream-handlers.ts';

const MIB = 1024 * 1024;
const TOTAL_BYTES = 256 * MIB;
/** Limit for the bytes in the sockets between three processes: far below the total. */
const HELD_BYTES = 32 * MIB;
/** Limit for the growth of memory. It includes garbage, but is far below the total. */
const GROWN_BYTES = 96 * MIB;
const CHUNK = Buffer.alloc(64 * 1024, 'x');
const STALL_MS = 1_000;

/** Measures how much more memory the program has at most than now. */
async function watchMemory(t: TestContext, { cambist }: FakeSetup): Promise<() => number> {
  const before = await residentBytes(cambist.pid);
  let most = before;
  const timer = setInterval(async () => {
    most = Math.max(most, await residentBytes(cambist.pid).catch(() => 0));
  }, 50);
  t.after(() => clearInterval(timer));
  return () => most - before;
}

async function stalled(figure: () => number): Promise<number> {
  let before = -1;
  while (before !== figure()) {
    before = figure();
    await delay(STALL_MS);
  }
  return before;
}

test('pauses the upstream of an unread download, and uses no memory for it', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const headers = await setup.bearer();
  const { handler, writtenBytes } = flood(TOTAL_BYTES);
  setup.upstream.handler = respond(200);
  await setup.call({ headers });
  setup.upstream.handler = handler;
  const grown = await watchMemory(t, setup);
  const download = await setup.open({ headers });
  const written = await stalled(writtenBytes);
  assert.ok(written < HELD_BYTES, `${written} bytes were accepted without a reader`);
  assert.equal(await drain(download), TOTAL_BYTES);
  assert.ok(grown() < GROWN_BYTES, `${grown()} bytes of memory for ${TOTAL_BYTES} bytes of body`);
});

test('pauses the client of an unread upload, and uses no memory for it', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const headers = await setup.bearer();
  setup.upstream.handler = respond(200);
  await setup.call({ headers });
  let read = (): void => {};
  setup.upstream.handler = async ({ message }, response) => {
    await new Promise<void>((resolve) => {
      read = resolve;
    });
    response.end(String(await drain(message)));
  };
  const grown = await watchMemory(t, setup);
  const upload = request(`${setup.cambist.url}/${SETUP_ROUTE}`, { method: 'POST', headers, agent: false });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    upload.once('response', resolve);
    upload.once('error', reject);
  });
  let sent = 0;
  const send = (): void => {
    while (sent < TOTAL_BYTES) {
      sent += CHUNK.length;
      if (!upload.write(CHUNK)) {
        upload.once('drain', send);
        return;
      }
    }
    upload.end();
  };
  send();
  const taken = await stalled(() => sent);
  assert.ok(taken < HELD_BYTES, `${taken} bytes were accepted without a reader`);
  read();
  let text = '';
  for await (const chunk of await answered) text += String(chunk);
  assert.equal(text, String(TOTAL_BYTES));
  assert.ok(grown() < GROWN_BYTES, `${grown()} bytes of memory for ${TOTAL_BYTES} bytes of body`);
});

async function drain(message: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const chunk of message) bytes += (chunk as Buffer).length;
  return bytes;
}
