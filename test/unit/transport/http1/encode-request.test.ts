import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Dispatcher, errors } from 'undici';
import { type EncodedRequest, encodeRequest } from '../../../../src/transport/http1/write-request.ts';

function encode(options: Partial<Dispatcher.DispatchOptions>): EncodedRequest {
  return encodeRequest({ method: 'GET', path: '/mcp', ...options } as Dispatcher.DispatchOptions, 'a.example');
}

async function* streamed(): AsyncGenerator<Buffer> {
  yield Buffer.from('{}');
}

type Framing = readonly [what: string, options: object, line: string | undefined, length: number | undefined];

const CASES: readonly Framing[] = [
  ['GET without content', { method: 'GET' }, undefined, undefined],
  ['DELETE without content', { method: 'DELETE' }, undefined, undefined],
  ['GET with a Content-Length but without content', { headers: ['Content-Length', '2'] }, undefined, 2],
  ['POST without content', { method: 'POST' }, 'content-length: 0', undefined],
  ['PUT without content', { method: 'PUT', body: null }, 'content-length: 0', undefined],
  ['PATCH without content', { method: 'PATCH' }, 'content-length: 0', undefined],
  ['QUERY without content', { method: 'QUERY' }, 'content-length: 0', undefined],
  ['POST with buffered content', { method: 'POST', body: Buffer.from('{}') }, 'content-length: 2', undefined],
  ['POST with empty content', { method: 'POST', body: Buffer.alloc(0) }, 'content-length: 0', undefined],
  ['POST with a text as content', { method: 'POST', body: 'a=\xe9' }, 'content-length: 3', undefined],
  ['GET with buffered content', { method: 'GET', body: Buffer.from('{}') }, 'content-length: 2', undefined],
  [
    'POST with buffered content of another length',
    { method: 'POST', headers: ['content-length', '5'], body: Buffer.from('{}') },
    'content-length: 2',
    5,
  ],
  ['POST with streamed content', { method: 'POST', body: streamed() }, 'transfer-encoding: chunked', undefined],
  [
    'POST with streamed content and a length',
    { method: 'POST', headers: ['CONTENT-Length', '2'], body: streamed() },
    'content-length: 2',
    2,
  ],
  [
    'POST with streamed content and the same length twice',
    { method: 'POST', headers: ['content-length', '2', 'Content-Length', '02'], body: streamed() },
    'content-length: 2',
    2,
  ],
];

for (const [what, options, line, length] of CASES) {
  test(`frames ${what} by ${line ?? 'nothing'}`, () => {
    const encoded = encode(options);
    const framing = encoded.text.split('\r\n').filter((each) => /^(content-length|transfer-encoding):/i.test(each));
    assert.deepEqual(framing, line === undefined ? [] : [line]);
    assert.equal(encoded.length, length);
  });
}

for (const value of ['', 'x', '-1', '+2', '2.0', '0x2', '2, 2', ' 2', '1e3', 'NaN', '9'.repeat(16)]) {
  test(`refuses a Content-Length of "${value}"`, () => {
    for (const body of [null, Buffer.from('{}'), streamed()]) {
      assert.throws(
        () => encode({ headers: ['content-length', value], body: body as never }),
        errors.InvalidArgumentError,
      );
    }
  });
}

test('refuses content in a text with characters beyond one byte', () => {
  assert.throws(() => encode({ method: 'POST', body: 'a=\u0141' }), errors.InvalidArgumentError);
});

test('refuses two different lengths', () => {
  const headers = ['content-length', '2', 'content-length', '3'];
  assert.throws(() => encode({ headers, body: streamed() as never }), errors.InvalidArgumentError);
});

for (const name of ['transfer-encoding', 'Transfer-Encoding', 'connection', 'CONNECTION']) {
  test(`refuses the header ${name}`, () => {
    assert.throws(() => encode({ headers: [name, 'chunked'], body: streamed() as never }), errors.InvalidArgumentError);
  });
}

test('uses the Host header of the request instead of the origin', () => {
  assert.match(encode({}).text, /^GET \/mcp HTTP\/1\.1\r\nhost: a\.example\r\n/);
  const { text } = encode({ headers: ['HOST', 'b.example'] });
  assert.deepEqual(text.match(/^host: .*$/gim), ['HOST: b.example']);
});

test('accepts headers as an object', () => {
  const { text } = encode({ headers: { accept: '*/*', host: 'b.example' } });
  assert.equal(text, 'GET /mcp HTTP/1.1\r\nconnection: keep-alive\r\naccept: */*\r\nhost: b.example\r\n\r\n');
});

test('names the protocol of an upgrade request', () => {
  assert.match(encode({ upgrade: 'websocket' }).text, /\r\nconnection: upgrade\r\nupgrade: websocket\r\n/);
  assert.doesNotMatch(encode({}).text, /upgrade/);
});

for (const path of ['', ' ', '/a b', '/\u{1f600}']) {
  test(`refuses the target "${path}"`, () => {
    assert.throws(() => encode({ path }), errors.InvalidArgumentError);
  });
}

test('refuses an empty header name', () => {
  assert.throws(() => encode({ headers: ['', 'x'] }), errors.InvalidArgumentError);
});

test('keeps bytes beyond ASCII as they are', () => {
  const { text } = encode({ path: '/caf\xc3\xa9', headers: ['x-name', 'caf\xc3\xa9'] });
  assert.ok(Buffer.from(text, 'latin1').includes(Buffer.from('GET /café HTTP/1.1\r\n')));
  assert.ok(Buffer.from(text, 'latin1').includes(Buffer.from('x-name: café\r\n')));
});

for (const length of [1, 200, 201, 4096]) {
  test(`refuses line endings and characters beyond one byte in a value of ${length} characters`, () => {
    const place = Math.floor(length / 2);
    const valueWith = (character: string): string =>
      `${'x'.repeat(place)}${character}${'x'.repeat(length - place - 1)}`;
    for (const character of ['\r', '\n', '\0', '\u010a', '\uff0d']) {
      for (const options of [{ headers: ['authorization', valueWith(character)] }, { upgrade: valueWith(character) }]) {
        assert.throws(() => encode(options), errors.InvalidArgumentError, JSON.stringify(character));
      }
    }
    for (const character of ['\t', ' ', '\u00ff']) {
      const value = valueWith(character);
      assert.ok(encode({ headers: ['x-name', value] }).text.includes(`\r\nx-name: ${value}\r\n`));
    }
  });
}
