import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { type RedirectedOptions, serveRedirected } from '../../../src/intercept/redirected.ts';
import type { HandshakeFailure } from '../../../src/observability/proxy-observer.ts';
import { createDetachedSockets } from '../../../src/proxy/detached.ts';
import { Tunnels } from '../../../src/proxy/tunnel.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { listen } from '../../harness/http-server.ts';

const ROUTED = 'mcp.example.com';

interface Options {
  /** `forward_proxy.connect`, by the port of the listener. */
  readonly allowed?: (port: number) => readonly string[];
  readonly hasCapacity?: boolean;
  /** Where every name leads. */
  readonly farPort?: number;
}

/** A listener of redirected connections, and everything it did with them. */
async function startListener(t: TestContext, { allowed = () => [], hasCapacity = true, farPort }: Options = {}) {
  const done: string[] = [];
  const tunnels = { open: 0 };
  const share = { inFlight: 0 };
  let port = 0;
  const tracker = {
    inFlight: 0,
    ended: () => {
      tracker.inFlight -= 1;
    },
    assertCapacity: () => {
      if (!hasCapacity) throw new Error('overloaded');
    },
    shares: {
      join: () => {
        share.inFlight += 1;
        return share;
      },
      forget: () => {},
    },
    tunnels: new Tunnels(),
    options: { logger: { warn: (_fields: object, message: string) => done.push(message) }, watch: { add: () => {} } },
  };
  const sockets = createDetachedSockets();
  const options = {
    activeConfig: () => ({
      config: {
        forwardProxy: { connect: allowed(farPort ?? port) },
        limits: { maxInFlight: 10, maxInFlightPerUpstream: 10 },
      },
      table: { namesHost: (host: string) => host === ROUTED },
    }),
    tracker,
    sockets,
    observer: {
      tunnelOpened: () => {
        tunnels.open += 1;
      },
      tunnelClosed: () => {
        tunnels.open -= 1;
      },
    },
    enter: (_socket: Socket, wayIn: string, host: string | undefined) => done.push(`${wayIn} ${host ?? 'plain'}`),
    tlsBridge: {
      accept: (socket: Socket, { host }: { host: string }) => {
        done.push(`terminated ${host} from byte ${(socket.read() as Buffer)[0]}`);
      },
    },
    failed: (socket: Socket, host: string | undefined, cause: HandshakeFailure) => {
      done.push(`failed ${host ?? 'unknown'}: ${cause}`);
      socket.destroy();
    },
    reach: {
      lookup: (_host: string, _options: object, found: (error: null, addresses: object[]) => void) =>
        found(null, [{ address: '127.0.0.1', family: 4 }]),
      refuse: () => undefined,
    },
  };
  const serve = serveRedirected(options as unknown as RedirectedOptions);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (farPort !== undefined) Object.defineProperty(socket, 'localPort', { value: farPort });
    serve(socket);
  });
  ({ port } = await listen(server));
  t.after(() => {
    server.close();
    sockets.destroyAll();
  });
  return { port, done, tunnels, tracker, share };
}

/** Sends bytes, or a ClientHello for a name. */
function send(t: TestContext, port: number, what: { readonly bytes: string | Buffer } | { readonly hello: string }) {
  const socket = connect({ port, host: '127.0.0.1' }).on('error', () => {});
  t.after(() => socket.destroy());
  if ('bytes' in what) socket.write(what.bytes);
  else connectTls({ socket, servername: what.hello }).on('error', () => {});
  return socket;
}

for (const [what, sent, expected] of [
  ['is malformed', { bytes: Buffer.of(0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9) }, 'failed unknown: protocol'],
  ['names a host that nothing allows', { hello: 'other.example.com' }, 'failed other.example.com: unrouted'],
] as const) {
  test(`closes a connection whose ClientHello ${what}`, async (t) => {
    const listener = await startListener(t);
    send(t, listener.port, sent);
    await eventually('it is closed', () => listener.done.length > 0);
    assert.deepEqual(listener.done, [expected]);
  });
}

test('never passes a routed host through, even if forward_proxy.connect allows it', async (t) => {
  const listener = await startListener(t, { allowed: (port) => [`${ROUTED}:${port}`, `*:${port}`, '*:443'] });
  send(t, listener.port, { hello: ROUTED });
  await eventually('it is terminated', () => listener.done.length > 0);
  assert.match(String(listener.done), /^terminated/);
});

test('closes an allowed connection where cambist has no capacity, and counts nothing', async (t) => {
  const far = createServer();
  const { port: farPort } = await listen(far);
  t.after(() => far.close());
  const listener = await startListener(t, {
    hasCapacity: false,
    farPort,
    allowed: (port) => [`a.example.com:${port}`],
  });
  const client = send(t, listener.port, { hello: 'a.example.com' });
  await soon('it is closed', new Promise((resolve) => client.resume().once('close', resolve)));
  await eventually('nothing is in flight', () => listener.tracker.inFlight === 0);
  assert.deepEqual(listener.done, ['redirected connection cannot be passed on; closing it']);
  assert.deepEqual([listener.tunnels.open, listener.share.inFlight], [0, 0]);
});

test('gives up a client that never finishes its ClientHello', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const listener = await startListener(t);
  send(t, listener.port, { bytes: Buffer.of(0x16, 3, 1) });
  const tick = async (): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    t.mock.timers.tick(10_000);
  };
  while (listener.done.length === 0) await tick();
  assert.deepEqual(listener.done, ['failed unknown: timeout']);
});
