import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const HEADER_BYTES = 12;
const A = 1;
const NO_SUCH_NAME = 3;

export async function startDnsServer(
  names: Readonly<Record<string, string>> | ((name: string) => Promise<string | undefined>),
  { address = '127.0.0.1', port = 53 } = {},
) {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', async (query, from) => {
    const { name, end } = readName(query);
    asked.push(name);
    const address = typeof names === 'function' ? await names(name) : names[name];
    const found = query.readUInt16BE(end) === A ? address : undefined;
    socket.send(response(query.subarray(0, end + 4), found, address !== undefined), from.port, from.address);
  });
  socket.bind(port, address);
  await once(socket, 'listening');
  /** The names that were asked for, in lower case. */
  return { asked, close: () => socket.close() };
}

function readName(query: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 };
}

/** @see RFC 1035 section 4.1 */
function response(question: Buffer, address: string | undefined, exists: boolean): Buffer {
  const reply = Buffer.from(question);
  // A response, with recursion; the code says whether the name exists. One question, at most one record.
  reply.writeUInt16BE(0x8180 | (exists ? 0 : NO_SUCH_NAME), 2);
  reply.writeUInt16BE(1, 4);
  reply.writeUInt16BE(address === undefined ? 0 : 1, 6);
  reply.writeUInt32BE(0, 8);
  if (address === undefined) return reply;
  // The name of the question, type A, class IN, 60 seconds, four bytes.
  const record = Buffer.from([0xc0, HEADER_BYTES, 0, A, 0, 1, 0, 0, 0, 60, 0, 4]);
  return Buffer.concat([reply, record, Buffer.from(address.split('.').map(Number))]);
}
