import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp } from '../../harness/app.ts';
import { connectRaw } from '../../harness/http-call.ts';
import { READERS, type Read, type Reader } from './readers.ts';

/** Requests of which some server reads the end elsewhere. Each is followed by one that must not become part of it. */
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const CASES: Record<string, string> = {
  'a length': 'Content-Length: 5\r\n\r\nhello',
  'a length of 0': 'Content-Length: 0\r\n\r\n',
  'no body': '\r\n',
  'a length with leading zeros': 'Content-Length: 005\r\n\r\nhello',
  'a signed length': 'Content-Length: +5\r\n\r\nhello',
  'two lengths': 'Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello',
  'a list of lengths': 'Content-Length: 5, 5\r\n\r\nhello',
  'a length in hexadecimal': 'Content-Length: 0x5\r\n\r\nhello',
  chunks: `${CHUNKED}\r\n5\r\nhello\r\n0\r\n\r\n`,
  'many chunks': `${CHUNKED}\r\n1\r\nh\r\n0004\r\nello\r\n0\r\n\r\n`,
  'chunk extensions': `${CHUNKED}\r\n5;a="b;c"\r\nhello\r\n0;x\r\n\r\n`,
  'a trailer section': `${CHUNKED}\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n`,
  'chunks with bare line feeds': `${CHUNKED}\r\n5\nhello\n0\n\n`,
  'a chunk shorter than it says': `${CHUNKED}\r\n6\r\nhello\r\n0\r\n\r\n`,
  'a length and chunks': `Content-Length: 5\r\n${CHUNKED}\r\n5\r\nhello\r\n0\r\n\r\n`,
  'chunks and identity': 'Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'another coding': 'Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello',
  'a coding after a tab': 'Transfer-Encoding:\tchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'a space before the colon': 'Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello',
  'a folded coding': 'Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\nhello',
  'a coding in Connection': `Connection: transfer-encoding, content-length\r\nContent-Length: 5\r\n\r\nhello`,
  'a request as its body': 'Content-Length: 41\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n',
};

const NEXT = 'GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n';

test('nginx, Node and Go read the same requests from what cambist forwards', { timeout: 110_000 }, async (t) => {
  const readers: [string, Reader][] = [];
  for (const [name, start] of Object.entries(READERS)) readers.push([name, await start(t)]);
  const app = await startTestApp(t, {
    routes: readers.map(([name, { url }]) => ({
      name,
      match: { path: '/', host: `${name}.test` },
      upstream: url,
      credential: 'none',
    })),
  });
  const send = async (name: string, reader: Reader, rest: string): Promise<{ statuses: string[]; read: Read[] }> => {
    reader.requests.length = 0;
    const connection = await connectRaw(app.url);
    const next = NEXT.replace('Host: h', `Host: ${name}.test`);
    connection.send(Buffer.from(`POST /case HTTP/1.1\r\nHost: ${name}.test\r\n${rest}${next}`, 'latin1'));
    const giveUp = setTimeout(() => connection.socket.destroy(), 3000);
    const text = await connection.closed();
    clearTimeout(giveUp);
    return {
      statuses: text.match(/HTTP\/1\.1 \d+/g) ?? [],
      // A server may handle both at once.
      read: reader.requests.toSorted((a, b) => a.url.localeCompare(b.url)),
    };
  };

  let whole = 0;
  for (const [what, rest] of Object.entries(CASES)) {
    const [first, ...others] = await Promise.all(readers.map(([name, reader]) => send(name, reader, rest)));
    for (const [index, other] of others.entries())
      assert.deepEqual(other, first, `${what}: ${readers[index + 1]?.[0]}`);
    const { statuses = [], read = [] } = first ?? {};
    const forwarded = statuses.filter((status) => status.endsWith(' 200')).length;
    assert.equal(read.length, forwarded, `${what}: a server read more or fewer requests than callers got responses`);
    assert.ok(!read.some(({ url }) => url.includes('smuggled')), what);
    if (forwarded < 2) continue;
    whole += 1;
    const urls = read.map(({ url }) => url);
    assert.deepEqual(urls, ['/case', '/next'], what);
  }
  assert.ok(whole >= 7, `only ${whole} cases were forwarded`);
});
