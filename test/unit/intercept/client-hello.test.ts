import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { MAX_HELLO_BYTES, readClientHello } from '../../../src/intercept/client-hello.ts';
import { listen } from '../../harness/http-server.ts';

/** The first bytes that Node's client sends. */
async function clientHello(servername: string): Promise<Buffer> {
  const server = createServer();
  const { port } = await listen(server);
  const bytes = new Promise<Buffer>((resolve) => server.once('connection', (socket) => socket.once('data', resolve)));
  const client = connect({ port, host: '127.0.0.1', servername, checkServerIdentity: () => undefined });
  client.on('error', () => {});
  const hello = await bytes;
  client.destroy();
  server.close();
  return hello;
}

/** The same handshake message in records of this size. */
function split(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const fragment = message.subarray(at, at + size);
    records.push(Buffer.of(0x16, 3, 1, fragment.length >> 8, fragment.length & 0xff), fragment);
  }
  return Buffer.concat(records);
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

test('waits for the rest, byte by byte, and in records of any size', async () => {
  const hello = await clientHello('mcp.example.com');
  for (const bytes of [hello, split(hello, 1), split(hello, 7), split(hello, 100)]) {
    for (let length = 0; length < bytes.length; length += 1) {
      assert.deepEqual(readClientHello(bytes.subarray(0, length)), { kind: 'incomplete' });
    }
    assert.deepEqual(readClientHello(bytes), { kind: 'hello', serverName: 'mcp.example.com' });
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
  ['a message that is too large', Buffer.from('160301000401004001', 'hex')],
  ['an application record between two fragments', Buffer.concat([Buffer.from('160301000201001703', 'hex')])],
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

test('gives up on a ClientHello that does not end', () => {
  const endless = split(Buffer.concat([Buffer.alloc(5), Buffer.of(1, 0, 0x3f, 0xf0), Buffer.alloc(0x3fe0)]), 1);
  assert.deepEqual(readClientHello(endless.subarray(0, MAX_HELLO_BYTES)), { kind: 'malformed' });
});

test('copies each byte of a ClientHello in records of one byte a bounded number of times', async (t) => {
  const records = split(await clientHello('mcp.example.com'), 1);
  const concat = t.mock.method(Buffer, 'concat');
  assert.equal(readClientHello(records).kind, 'hello');
  assert.ok(concat.mock.callCount() <= 2, `${concat.mock.callCount()} copies`);
});

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
