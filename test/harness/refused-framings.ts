/** The request that an attacker hides in another one. */
export const SMUGGLED = 'GET /plain/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n';
export const HEAD = 'POST /plain HTTP/1.1\r\nHost: localhost\r\n';
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n`;
/** An empty body for readers of chunks, and then the hidden request. */
const HIDDEN = `\r\n0\r\n\r\n${SMUGGLED}`;

/** Requests that are invalid, or that servers could split in different places. */
export const REFUSED_FRAMINGS: readonly (readonly [flaw: string, bytes: string])[] = [
  [
    'Content-Length and Transfer-Encoding together',
    `${HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n${HIDDEN}`,
  ],
  ['Transfer-Encoding and Content-Length together', `${CHUNKED}Content-Length: 5\r\n${HIDDEN}`],
  [
    'two different Content-Lengths',
    `${HEAD}Content-Length: 0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
  ],
  ['the same Content-Length twice', `${HEAD}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`],
  ['a list of Content-Lengths', `${HEAD}Content-Length: 5, 5\r\n\r\nhello`],
  ['a signed Content-Length', `${HEAD}Content-Length: +5\r\n\r\nhello`],
  ['a negative Content-Length', `${HEAD}Content-Length: -1\r\n\r\n${SMUGGLED}`],
  ['a hexadecimal Content-Length', `${HEAD}Content-Length: 0x5\r\n\r\nhello`],
  ['a Content-Length in parts', `${HEAD}Content-Length: 5 5\r\n\r\nhello`],
  ['an empty Content-Length', `${HEAD}Content-Length: \r\n\r\n${SMUGGLED}`],
  ['an overflowing Content-Length', `${HEAD}Content-Length: 99999999999999999999999\r\n\r\n${SMUGGLED}`],
  ['a space before the colon', `${HEAD}Transfer-Encoding : chunked\r\n${HIDDEN}`],
  ['another coding after chunked', `${HEAD}Transfer-Encoding: chunked, identity\r\n${HIDDEN}`],
  ['a control character before chunked', `${HEAD}Transfer-Encoding: \x0bchunked\r\n${HIDDEN}`],
  ['a second Transfer-Encoding', `${CHUNKED}Transfer-Encoding: identity\r\n${HIDDEN}`],
  ['Transfer-Encoding in a folded line', `${HEAD}Transfer-Encoding:\r\n chunked\r\n${HIDDEN}`],
  ['a folded header', `${HEAD}X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n`],
  ['a folded first header', `POST /plain HTTP/1.1\r\n Host: localhost\r\n\r\n`],
  ['bare line feeds', `GET /plain HTTP/1.1\nHost: localhost\n\n`],
  ['one bare line feed among headers', `${HEAD}X: a\nTransfer-Encoding: chunked\r\n${HIDDEN}`],
  ['a bare carriage return in a value', `${HEAD}X: a\rTransfer-Encoding: chunked\r\n${HIDDEN}`],
  ['NUL in a value', `${HEAD}X: a\0b\r\nContent-Length: 0\r\n\r\n`],
  ['NUL in a name', `${HEAD}X\0: a\r\nContent-Length: 0\r\n\r\n`],
  ['a header without a colon', `${HEAD}Transfer-Encoding chunked\r\n${HIDDEN}`],
  ['a header without a name', `${HEAD}: a\r\n\r\n${SMUGGLED}`],
  ['a malformed chunk size', `${CHUNKED}\r\nzz\r\n\r\n${SMUGGLED}`],
  ['a chunk size with a prefix', `${CHUNKED}\r\n0x5\r\nhello\r\n0\r\n\r\n`],
  ['an overflowing chunk size', `${CHUNKED}\r\nfffffffffffffffff1\r\nhello\r\n0\r\n\r\n`],
  ['a chunk size that ends in a bare line feed', `${CHUNKED}\r\n5\nhello${HIDDEN}`],
  ['a chunk longer than its size', `${CHUNKED}\r\n3\r\nhello${HIDDEN}`],
  ['a bare line feed in a chunk extension', `${CHUNKED}\r\n5;a\nb\r\nhello${HIDDEN}`],
  ['framing in its trailers', `${CHUNKED}\r\n0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`],
  ['a space before the method', ` POST /plain HTTP/1.1\r\nHost: localhost\r\n\r\n${SMUGGLED}`],
  ['a space in the target', `GET /plain /x HTTP/1.1\r\nHost: localhost\r\n\r\n`],
  ['an unknown version', `GET /plain HTTP/1.9\r\nHost: localhost\r\n\r\n`],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['an invalid method', `P@ST /plain HTTP/1.1\r\nHost: localhost\r\n\r\n`],
];
