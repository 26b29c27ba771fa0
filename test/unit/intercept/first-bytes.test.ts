import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import { type FirstBytes, readFirstBytes } from '../../../src/intercept/first-bytes.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { listen } from '../../harness/http-server.ts';

/** The end of a connection that a client has opened, as cambist has it. */
async function accepted(t: TestContext): Promise<{ client: Socket; socket: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  const { port } = await listen(server);
  const opened = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const client = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  const socket = await opened;
  for (const each of [client, socket]) each.on('error', () => {});
  t.after(() => {
    server.close();
    client.destroy();
    socket.destroy();
  });
  return { client, socket };
}

async function helloOf(t: TestContext, servername: string): Promise<Buffer> {
  const { client, socket } = await accepted(t);
  const bytes = new Promise<Buffer>((resolve) => void socket.once('data', resolve));
  connectTls({ socket: client, servername }).on('error', () => {});
  return bytes;
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

test('reads a ClientHello, and gives every byte to the next reader', async (t) => {
  const hello = await helloOf(t, 'mcp.example.com');
  const more = Buffer.concat([hello, Buffer.from('more')]);
  const { read, bytes } = await readPieces(t, [more]);
  assert.deepEqual(read, { kind: 'hello', serverName: 'mcp.example.com' });
  assert.deepEqual(bytes, more);
});

test('reads a ClientHello that arrives byte by byte', async (t) => {
  const hello = await helloOf(t, 'mcp.example.com');
  const { read, bytes } = await readPieces(
    t,
    [...hello].map((byte) => Buffer.of(byte)),
  );
  assert.deepEqual(read, { kind: 'hello', serverName: 'mcp.example.com' });
  assert.deepEqual(bytes, hello);
});

test('gives the same reading and all bytes, whatever arrives in whatever pieces', async (t) => {
  const hello = await helloOf(t, 'mcp.example.com');
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
  const hello = await helloOf(t, 'mcp.example.com');
  for (const sent of [Buffer.alloc(0), hello.subarray(0, 100)]) {
    const { client, socket } = await accepted(t);
    readFirstBytes(socket, () => assert.fail('it is not whole'));
    client.end(sent);
    await eventually('the connection is closed', () => socket.destroyed);
  }
});

test('leaves a connection open that ends after its ClientHello', async (t) => {
  const hello = await helloOf(t, 'mcp.example.com');
  const { client, socket } = await accepted(t);
  const read = new Promise<FirstBytes>((resolve) => readFirstBytes(socket, resolve));
  client.end(hello);
  await soon('the ClientHello is read', read);
  const ended = new Promise((resolve) => socket.resume().once('end', resolve));
  await soon('the end is read', ended);
  assert.equal(socket.writable, true);
});
