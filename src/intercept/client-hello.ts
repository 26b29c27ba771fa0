import type { Socket } from 'node:net';

/** The meaning of the first bytes of a TLS connection. */
export type ClientHello =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'malformed' }
  /** @see RFC 6066 section 3 */
  | { readonly kind: 'hello'; readonly serverName: string | undefined };

/** Bytes that a ClientHello may take with its record header. Those of common clients have at most 2 KiB. */
export const MAX_HELLO_BYTES = 16 * 1024;

const HANDSHAKE_RECORD = 0x16;
const CLIENT_HELLO = 1;
const RECORD_HEADER = 5;
/** Bytes of both headers: the record header, and the type and the length of the message. */
const HEADERS = RECORD_HEADER + 4;
const SERVER_NAME = 0;
const HOST_NAME = 0;

/** The form of a host name in TLS: letters, digits, hyphens and underscores. An address is not allowed there. */
const NAME = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;
/** Longest host name (RFC 1035 section 2.3.4). The log shows it. */
const MAX_NAME_LENGTH = 253;

const MALFORMED: ClientHello = { kind: 'malformed' };
const INCOMPLETE: ClientHello = { kind: 'incomplete' };

/**
 * Reads the server name of a ClientHello, which is one record. Clients divide only larger messages.
 * @see RFC 8446 sections 4.1.2 and 5.1
 */
export function readClientHello(bytes: Buffer): ClientHello {
  if (bytes.length > 0 && bytes[0] !== HANDSHAKE_RECORD) return MALFORMED;
  if (bytes.length > 1 && bytes[1] !== 3) return MALFORMED;
  if (bytes.length < RECORD_HEADER) return INCOMPLETE;
  const end = RECORD_HEADER + bytes.readUInt16BE(3);
  if (end < HEADERS || end > MAX_HELLO_BYTES) return MALFORMED;
  if (bytes.length < end) return INCOMPLETE;
  if (bytes.readUInt32BE(RECORD_HEADER) !== CLIENT_HELLO * 2 ** 24 + end - HEADERS) return MALFORMED;
  try {
    return { kind: 'hello', serverName: serverNameOf(bytes.subarray(HEADERS, end)) };
  } catch {
    // A length leads past the end, or the name is ambiguous.
    return MALFORMED;
  }
}

/** Reads fields one after the other. @throws {RangeError} past the end */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isEmpty(): boolean {
    return this.#at === this.#bytes.length;
  }

  advance(length: number): void {
    this.#take(length);
  }

  number(size: 1 | 2): number {
    return this.#take(size).readUIntBE(0, size);
  }

  /** A field that begins with its length. */
  vector(size: 1 | 2): Fields {
    return new Fields(this.#take(this.number(size)));
  }

  text(): string {
    return this.#bytes.toString('latin1', this.#at);
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError('a length leads past the end');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}

/** @returns the name in lower case, or undefined without one */
function serverNameOf(hello: Buffer): string | undefined {
  const fields = new Fields(hello);
  // Version and random.
  fields.advance(34);
  // Session id, cipher suites, compression methods.
  for (const size of [1, 2, 1] as const) fields.vector(size);
  if (fields.isEmpty) return undefined;
  const extensions = fields.vector(2);
  let found: string | undefined;
  while (!extensions.isEmpty) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (type !== SERVER_NAME) continue;
    if (found !== undefined) throw new RangeError('two server name extensions');
    found = onlyName(content.vector(2));
  }
  return found;
}

function onlyName(list: Fields): string {
  if (list.number(1) !== HOST_NAME) throw new RangeError('unknown type of name');
  const name = list.vector(2).text().toLowerCase();
  if (!list.isEmpty || name.length > MAX_NAME_LENGTH || !NAME.test(name))
    throw new RangeError('several names, or a malformed one');
  return name;
}

/** A ClientHello that has arrived, or bytes that cannot become one. */
export type FirstBytes = Exclude<ClientHello, { readonly kind: 'incomplete' }>;

/**
 * Waits for a whole ClientHello, which may arrive byte by byte, and puts its bytes back in front of what the connection has yet to
 * read. Closes the connection of a client that ends it before.
 */
export function readFirstBytes(socket: Socket, take: (hello: FirstBytes) => void): void {
  // One buffer, and no larger than what arrived: thousands of connections may wait, and a chunk may be a single byte.
  let read: Buffer = Buffer.alloc(0);
  const look = (): void => {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) return;
    read = read.length === 0 ? bytes : Buffer.concat([read, bytes]);
    const hello = readClientHello(read);
    if (hello.kind === 'incomplete') return;
    socket.off('readable', look);
    socket.off('end', close);
    socket.unshift(read);
    take(hello);
  };
  const close = (): void => void socket.destroy();
  socket.on('readable', look);
  socket.once('end', close);
  // Usually the whole ClientHello is there already.
  look();
}
