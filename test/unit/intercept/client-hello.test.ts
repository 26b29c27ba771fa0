import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import { type FirstBytes, readClientHello, readFirstBytes } from '../../../src/intercept/client-hello.ts';
import { type RedirectedOptions, serveRedirected } from '../../../src/intercept/redirected.ts';
import { createDetachedSockets } from '../../../src/proxy/detached.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { listen, serve } from '../../harness/http-server.ts';

/** The first bytes that Node's client sends. */
async function clientHello(servername: string): Promise<Buffer> {
  const server = createServer();
  const { port } = await listen(server);
  const bytes = new Promise<Buffer>((resolve) => server.once('connection', (socket) => socket.once('data', resolve)));
  const client = connectTls({ port, host: '127.0.0.1', servername, checkServerIdentity: () => undefined });
  client.on('error', () => {});
  const hello = await bytes;
  client.destroy();
  server.close();
  return hello;
}

function vector(size: 1 | 2, content: Buffer): Buffer {
  const length = Buffer.alloc(size);
  length.writeUIntBE(content.length, 0, size);
  return Buffer.concat([length, content]);
}

const uint16 = (value: number): Buffer => Buffer.of(value >> 8, value & 0xff);

/** A ClientHello with these extensions. @param extensions undefined: without the field */
function helloWith(extensions: Buffer | undefined): Buffer {
  const body = Buffer.concat([
    Buffer.alloc(34),
    vector(1, Buffer.alloc(32)),
    vector(2, Buffer.of(0x13, 1)),
    vector(1, Buffer.of(0)),
    ...(extensions === undefined ? [] : [vector(2, extensions)]),
  ]);
  const message = Buffer.concat([Buffer.of(1, 0), uint16(body.length), body]);
  return Buffer.concat([Buffer.of(0x16, 3, 1), vector(2, message)]);
}

function serverNames(...names: (Buffer | string)[]): Buffer {
  const entries = names.map((name) => Buffer.concat([Buffer.of(0), vector(2, Buffer.from(name))]));
  return Buffer.concat([uint16(0), vector(2, vector(2, Buffer.concat(entries)))]);
}

test('reads the server name of a real client, in lower case', async () => {
  const hello = await clientHello('MCP.Example.com');
  assert.deepEqual(readClientHello(hello), { kind: 'hello', serverName: 'mcp.example.com' });
  const trailing = Buffer.concat([hello, Buffer.from('early data')]);
  assert.deepEqual(readClientHello(trailing), { kind: 'hello', serverName: 'mcp.example.com' });
});

test('reports a missing server name', async () => {
  assert.deepEqual(readClientHello(await clientHello('')), { kind: 'hello', serverName: undefined });
  assert.deepEqual(readClientHello(helloWith(undefined)), { kind: 'hello', serverName: undefined });
});

test('waits for the rest, byte by byte', async () => {
  const hello = await clientHello('mcp.example.com');
  for (let length = 0; length < hello.length; length += 1) {
    assert.deepEqual(readClientHello(hello.subarray(0, length)), { kind: 'incomplete' });
  }
});

const OTHER_TYPE = Buffer.concat([
  uint16(0),
  vector(2, vector(2, Buffer.concat([Buffer.of(1), vector(2, Buffer.from('a'))]))),
]);

for (const [what, bytes] of [
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
  ['another record type', Buffer.from('1503010002020a', 'hex')],
  ['SSL 2', Buffer.from('802e0100020015', 'hex')],
  ['an empty record', Buffer.from('1603010000', 'hex')],
  ['a record that is too large', Buffer.from('1603014001', 'hex')],
  ['another handshake message', Buffer.from('160301000402000000', 'hex')],
  ['a message in two records', Buffer.from('160301000401004001', 'hex')],
  ['a record without a message', Buffer.from('16030100020100', 'hex')],
  ['two server names', helloWith(serverNames('a.example.com', 'b.example.com'))],
  [
    'two server name extensions',
    helloWith(Buffer.concat([serverNames('a.example.com'), serverNames('a.example.com')])),
  ],
  ['an empty server name', helloWith(serverNames(''))],
  ['a server name with a NUL', helloWith(serverNames('a.example.com\0.b'))],
  ['a server name with a trailing dot', helloWith(serverNames('a.example.com.'))],
  ['a server name that is too long', helloWith(serverNames(`${'a.'.repeat(126)}aa`))],
  ['a server name in Unicode', helloWith(serverNames('bücher.example'))],
  ['another type of name', helloWith(OTHER_TYPE)],
  ['a length past the end', helloWith(Buffer.from('00000008', 'hex'))],
] as const) {
  test(`calls ${what} malformed`, () => assert.deepEqual(readClientHello(bytes), { kind: 'malformed' }));
}

test('never throws, whatever the bytes are', async () => {
  const hello = await clientHello('mcp.example.com');
  const flips = fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { maxLength: 8 });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), flips, (random, changes) => {
      const changed = Buffer.from(hello);
      for (const [at, value] of changes) changed[at] = value;
      for (const bytes of [changed, Buffer.from(random), Buffer.concat([Buffer.of(0x16, 3, 1), random])]) {
        assert.ok(['incomplete', 'malformed', 'hello'].includes(readClientHello(bytes).kind));
      }
    }),
  );
});

/** The end of a connection that a client has opened, as cambist has it. */
async function accepted(t: TestContext): Promise<{ client: Socket; socket: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  const { port } = await serve(t, server);
  const client = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }).on('error', () => {});
  t.after(() => client.destroy());
  const [socket] = (await once(server, 'connection')) as [Socket];
  return { client, socket };
}

/** The reading of bytes that arrive in these pieces, and the bytes that a reader of the connection then gets. */
async function readPieces(t: TestContext, pieces: readonly Buffer[]) {
  const { client, socket } = await accepted(t);
  const taken: FirstBytes[] = [];
  const hello = new Promise<FirstBytes>((resolve) => {
    readFirstBytes(socket, (read) => {
      taken.push(read);
      resolve(read);
    });
  });
  for (const piece of pieces) {
    client.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const read = await soon('the first bytes are read', hello);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  await eventually('all bytes are read', () => Buffer.concat(chunks).length === length);
  assert.equal(taken.length, 1);
  return { read, bytes: Buffer.concat(chunks) };
}

test('gives the same reading and all bytes, whatever arrives in whatever pieces', async (t) => {
  const hello = await clientHello('mcp.example.com');
  const input = fc.record({
    // Enough that the reading is never incomplete: a ClientHello is a prefix, or a record is of another type.
    bytes: fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 300 }).map((more) => Buffer.concat([hello, more])),
      fc.uint8Array({ minLength: 5, maxLength: 300 }).map((random) => Buffer.concat([Buffer.from('GET /'), random])),
    ),
    cuts: fc.array(fc.nat(), { maxLength: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(input, async ({ bytes, cuts }) => {
      const at = [0, ...cuts.map((cut) => cut % bytes.length).sort((one, other) => one - other), bytes.length];
      const pieces = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
      const { read, bytes: given } = await readPieces(t, pieces);
      const isHello = bytes.subarray(0, hello.length).equals(hello);
      assert.deepEqual(read, isHello ? { kind: 'hello', serverName: 'mcp.example.com' } : { kind: 'malformed' });
      assert.deepEqual(given, bytes);
    }),
    { numRuns: 50 },
  );
});

test('closes the connection of a client that ends it before its ClientHello is whole', async (t) => {
  const hello = await clientHello('mcp.example.com');
  for (const sent of [Buffer.alloc(0), hello.subarray(0, 100)]) {
    const { client, socket } = await accepted(t);
    readFirstBytes(socket, () => assert.fail('it is not whole'));
    client.end(sent);
    await eventually('the connection is closed', () => socket.destroyed);
  }
});

test('leaves a connection open that ends after its ClientHello', async (t) => {
  const hello = await clientHello('mcp.example.com');
  const { client, socket } = await accepted(t);
  const read = new Promise<FirstBytes>((resolve) => readFirstBytes(socket, resolve));
  client.end(hello);
  await soon('the ClientHello is read', read);
  const ended = new Promise((resolve) => socket.resume().once('end', resolve));
  await soon('the end is read', ended);
  assert.equal(socket.writable, true);
});

for (const [what, bytes, cause] of [
  ['never finishes its ClientHello', Buffer.of(0x16, 3, 1), 'timeout'],
  ['sends a malformed one', Buffer.of(0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9), 'protocol'],
] as const) {
  test(`gives up a redirected client that ${what}`, async (t) => {
    const { client, socket } = await accepted(t);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const causes: string[] = [];
    const failed = (_socket: Socket, _host: undefined, why: string) => causes.push(why);
    serveRedirected({ sockets: createDetachedSockets(), failed } as unknown as RedirectedOptions)(socket);
    client.write(bytes);
    for (let turns = 0; causes.length === 0 && turns < 100_000; turns += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      if (socket.bytesRead === bytes.length) t.mock.timers.tick(1000);
    }
    assert.deepEqual(causes, [cause]);
  });
}
