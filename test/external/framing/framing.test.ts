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
  // CGI and WSGI keep one name for both spellings.
  'a length with an underscore': 'Content_Length: 9\r\nContent-Length: 5\r\n\r\nhello',
  'only a length with an underscore': 'Content_Length: 5\r\n\r\n',
  'a coding with an underscore': 'Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello',
  'a coding in capitals': 'TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'a coding in quotes': 'Transfer-Encoding: "chunked"\r\nContent-Length: 5\r\n\r\nhello',
  'an empty coding': 'Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello',
  'a coding and parameters': 'Transfer-Encoding: chunked;q=1\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'a coding after a vertical tab': 'Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\nhello',
  'an empty length': 'Content-Length:\r\n\r\n',
  'a length after other white space': 'Content-Length: \xa05\r\n\r\nhello',
  'a length with digit separators': 'Content-Length: 1_0\r\n\r\nhelloworld',
  'a size with a sign': `${CHUNKED}\r\n+5\r\nhello\r\n0\r\n\r\n`,
  'a size in C notation': `${CHUNKED}\r\n0x5\r\nhello\r\n0\r\n\r\n`,
  'a size with a space': `${CHUNKED}\r\n5 \r\nhello\r\n0\r\n\r\n`,
  'an overflowing size': `${CHUNKED}\r\n10000000000000005\r\nhello\r\n0\r\n\r\n`,
  'an extension with a bare line feed': `${CHUNKED}\r\n5;a\nhello\r\n0\r\n\r\n`,
  'an extension that looks like chunks': `${CHUNKED}\r\n5;\n0\r\nhello\r\n0\r\n\r\n`,
  'a malformed trailer': `${CHUNKED}\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n`,
  'a body that waits for 100 Continue': 'Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello',
  'an upgrade to HTTP/2':
    'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nhello',
  'another method by a header': 'X-HTTP-Method-Override: GET\r\nContent-Length: 5\r\n\r\nhello',
  'a request as its body': 'Content-Length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n',
};

/** Start lines with which some server reads no body, or reads its length in another way. */
const START = 'POST /case HTTP/1.1';
const OTHER_STARTS = [
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PROPFIND', 'post'].map((method) => `${method} /case HTTP/1.1`),
  'POST /case HTTP/1.0',
  'GET /case HTTP/1.0',
];
const ON_OTHER_STARTS = ['a length', 'a length of 0', 'no body', 'chunks'];

/** The start line and the rest of each first request, by what is odd about it. */
const REQUESTS: readonly (readonly [what: string, start: string, rest: string])[] = [
  ...Object.entries(CASES).map(([what, rest]) => [what, START, rest] as const),
  ...OTHER_STARTS.flatMap((start) =>
    ON_OTHER_STARTS.map(
      (what) => [`${start} with ${what}`, start, `Connection: keep-alive\r\n${CASES[what]}`] as const,
    ),
  ),
];

const NEXT = 'GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n';

test('real servers read the same requests from what cambist forwards', { timeout: 110_000 }, async (t) => {
  const readers = await Promise.all(
    Object.entries(READERS).map(async ([name, start]): Promise<[string, Reader]> => [name, await start(t)]),
  );
  const app = await startTestApp(t, {
    routes: readers.map(([name, { url }]) => ({
      name,
      match: { path: '/', host: `${name}.test` },
      upstream: url,
      credential: 'none',
    })),
  });
  const send = async (
    name: string,
    reader: Reader,
    start: string,
    rest: string,
  ): Promise<{ statuses: string[]; read: Read[] }> => {
    reader.requests.length = 0;
    const connection = await connectRaw(app.url);
    const next = NEXT.replace('Host: h', `Host: ${name}.test`);
    connection.send(Buffer.from(`${start}\r\nHost: ${name}.test\r\n${rest}${next}`, 'latin1'));
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
  for (const [what, start, rest] of REQUESTS) {
    const [first, ...others] = await Promise.all(readers.map(([name, reader]) => send(name, reader, start, rest)));
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
