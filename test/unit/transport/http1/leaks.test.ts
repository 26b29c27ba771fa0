import assert from 'node:assert/strict';
import net, { type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type BareConnection, link, OK, responseOf, streamed } from '../../../harness/bare-upstream.ts';
import { countParsers } from '../../../harness/counted-parsers.ts';
import { eventually } from '../../../harness/eventually.ts';
import { abort, type Followed, pauseFor, type Reactions, throwIt } from '../../../harness/followed.ts';

const parsers = countParsers();

/** The responses of the upstream, by request target. */
const RESPONSES: Record<string, (connection: BareConnection) => void> = {
  '/complete': ({ send }) => send(responseOf('hello')),
  '/closes': ({ send }) => send(responseOf('hello', `${OK}Connection: close\r\n`)),
  '/until-end': ({ socket }) => socket.end('HTTP/1.1 200 OK\r\n\r\nhello'),
  '/chunks': ({ send }) => send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n'),
  '/unexpected': ({ send }) => send(responseOf('hello') + responseOf('unexpected')),
  '/incomplete': ({ socket }) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello'),
  '/reset': ({ socket }) => socket.resetAndDestroy(),
  '/no-http': ({ send }) => send('hello'),
  '/silence': () => {},
  '/switch': ({ send }) =>
    send('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello'),
};

async function* failing(): AsyncGenerator<Buffer> {
  yield Buffer.from('he');
  throw new Error('gone');
}

const pauseBriefly = pauseFor(0);

function respond(connection: BareConnection, headers: string): void {
  RESPONSES[headers.split(' ')[1] as string]?.(connection);
}

type Kind = readonly [path: string, options?: object, reactions?: Reactions];

const KINDS: readonly Kind[] = [
  ...['/complete', '/closes', '/until-end', '/chunks', '/unexpected', '/incomplete', '/reset', '/no-http'].map(
    (path) => [path] as Kind,
  ),
  ['/silence', { headersTimeout: 5 }],
  ['/complete', { method: 'POST', body: Buffer.from('hello'), headersTimeout: 60_000 }],
  ['/complete', { method: 'POST', body: () => streamed('he', 'llo'), headersTimeout: 60_000 }],
  ['/silence', { method: 'POST', body: failing, headersTimeout: 60_000 }],
  ['/until-end', {}, { onResponse: pauseBriefly, onData: pauseBriefly }],
  ['/incomplete', {}, { onData: pauseBriefly }],
  ['/reset', { headersTimeout: 60_000 }],
  ['/silence', { headersTimeout: 60_000 }, { onStart: (controller) => setTimeout(() => abort(controller), 1) }],
  ['/complete', {}, { onStart: abort }],
  ['/chunks', { headersTimeout: 60_000 }, { onResponse: abort }],
  ['/chunks', {}, { onData: abort }],
  ['/complete', {}, { onStart: throwIt }],
  ['/complete', {}, { onResponse: throwIt }],
  ['/complete', {}, { onEnd: throwIt }],
  ['/bad target'],
  ['/switch', { upgrade: 'echo', headersTimeout: 60_000 }, { onUpgrade: (_, socket) => socket.destroy() }],
  ['/switch'],
  ['/complete', { upgrade: 'echo' }],
  ['/complete', { upgrade: 'echo' }, { onStart: abort }],
  ['/complete', { origin: 'http://127.0.0.1:1' }],
];

/** Counts the resources that keep the process alive, by kind. */
function active(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (/TCP|TLS|Timeout|Immediate|Pipe/.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** Returns the sockets that are opened from now on. */
function watchSockets(t: TestContext): readonly Socket[] {
  const sockets: Socket[] = [];
  const { connect } = net;
  t.mock.method(net, 'connect', (...given: Parameters<typeof connect>) => {
    const socket = connect(...given);
    sockets.push(socket);
    return socket;
  });
  return sockets;
}

test('leaves no socket, timer, parser or listener after thousands of requests of all kinds', async (t) => {
  const warnings: string[] = [];
  const warn = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', warn);
  t.after(() => process.off('warning', warn));
  const { dispatcher, ask: send, connections } = await link(t, respond);
  const sockets = watchSockets(t);
  const before = active();
  const ask = ([path, options = {}, reactions]: Kind): Promise<Followed> => {
    const { body, ...rest } = options as { body?: unknown };
    return send({ path, ...rest, body: typeof body === 'function' ? body() : (body ?? null) }, reactions);
  };
  for (let round = 0; round < 80; round += 1) await Promise.all([...KINDS, ...KINDS].map(ask));
  assert.ok(sockets.length > 1_000);
  await dispatcher.close();
  await eventually('all parsers are freed', () => parsers.inUse() === 0);
  assert.ok(sockets.every(({ destroyed }) => destroyed));
  await eventually('the upstream sees all connections close', () => connections.every(({ isClosed }) => isClosed));
  await eventually('no resource is left', () => JSON.stringify(active()) === JSON.stringify(before));
  assert.deepEqual(warnings, []);
});

test('adds no listener to a connection that serves a thousand requests', async (t) => {
  const { ask: send } = await link(t, respond);
  const sockets = watchSockets(t);
  const listeners = (): (string | symbol | number)[][] => {
    const socket = sockets[0] as Socket;
    return socket.eventNames().map((name) => [name, socket.listenerCount(name)]);
  };
  const ask = async (): Promise<void> => {
    for (const body of [null, Buffer.from('hello'), streamed('he', 'llo')]) {
      const request = { path: '/complete', method: 'POST', body, headersTimeout: 60_000 } as const;
      const { events } = await send(request, { onResponse: pauseBriefly });
      assert.equal(events.at(-1), 'end');
    }
  };
  await ask();
  const before = listeners();
  for (let i = 0; i < 333; i += 1) await ask();
  assert.deepEqual(listeners(), before);
  assert.equal(sockets.length, 1);
});
