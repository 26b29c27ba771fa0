import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Dispatcher, errors } from 'undici';
import { type RequestHead, requestHead } from '../../../../src/transport/http1/request-head.ts';

function headOf(options: Partial<Dispatcher.DispatchOptions>): RequestHead {
  return requestHead({ method: 'GET', path: '/mcp', ...options } as Dispatcher.DispatchOptions, 'a.example');
}

async function* bitByBit(): AsyncGenerator<Buffer> {
  yield Buffer.from('{}');
}

type Framing = readonly [what: string, options: object, line: string | undefined, length: number | undefined];

const CASES: readonly Framing[] = [
  ['GET without content', { method: 'GET' }, undefined, undefined],
  ['DELETE without content', { method: 'DELETE' }, undefined, undefined],
  ['GET that was announced content and has none', { headers: ['Content-Length', '2'] }, undefined, 2],
  ['POST without content', { method: 'POST' }, 'content-length: 0', undefined],
  ['PUT without content', { method: 'PUT', body: null }, 'content-length: 0', undefined],
  ['PATCH without content', { method: 'PATCH' }, 'content-length: 0', undefined],
  ['QUERY without content', { method: 'QUERY' }, 'content-length: 0', undefined],
  ['POST with all of its content', { method: 'POST', body: Buffer.from('{}') }, 'content-length: 2', undefined],
  ['POST with empty content', { method: 'POST', body: Buffer.alloc(0) }, 'content-length: 0', undefined],
  ['GET with all of its content', { method: 'GET', body: Buffer.from('{}') }, 'content-length: 2', undefined],
  [
    'POST with other content than was announced',
    { method: 'POST', headers: ['content-length', '5'], body: Buffer.from('{}') },
    'content-length: 2',
    5,
  ],
  ['POST bit by bit', { method: 'POST', body: bitByBit() }, 'transfer-encoding: chunked', undefined],
  [
    'POST bit by bit with a length',
    { method: 'POST', headers: ['CONTENT-Length', '2'], body: bitByBit() },
    'content-length: 2',
    2,
  ],
  [
    'POST bit by bit with the same length twice',
    { method: 'POST', headers: ['content-length', '2', 'Content-Length', '02'], body: bitByBit() },
    'content-length: 2',
    2,
  ],
];

for (const [what, options, line, length] of CASES) {
  test(`${what} is framed by ${line ?? 'nothing'}`, () => {
    const head = headOf(options);
    const framing = head.text.split('\r\n').filter((each) => /^(content-length|transfer-encoding):/i.test(each));
    assert.deepEqual(framing, line === undefined ? [] : [line]);
    assert.equal(head.length, length);
  });
}

for (const value of ['', 'x', '-1', '+2', '2.0', '0x2', '2, 2', ' 2', '1e3', 'NaN', '9'.repeat(16)]) {
  test(`a length of "${value}" is refused, whatever content there is`, () => {
    for (const body of [null, Buffer.from('{}'), bitByBit()]) {
      assert.throws(
        () => headOf({ headers: ['content-length', value], body: body as never }),
        errors.InvalidArgumentError,
      );
    }
  });
}

test('two lengths are refused', () => {
  const headers = ['content-length', '2', 'content-length', '3'];
  assert.throws(() => headOf({ headers, body: bitByBit() as never }), errors.InvalidArgumentError);
});

for (const name of ['transfer-encoding', 'Transfer-Encoding', 'connection', 'CONNECTION']) {
  test(`a request does not say ${name} by a header`, () => {
    assert.throws(() => headOf({ headers: [name, 'chunked'], body: bitByBit() as never }), errors.InvalidArgumentError);
  });
}

test('a host that the request says takes the place of that of the origin', () => {
  assert.match(headOf({}).text, /^GET \/mcp HTTP\/1\.1\r\nhost: a\.example\r\n/);
  const { text } = headOf({ headers: ['HOST', 'b.example'] });
  assert.deepEqual(text.match(/^host: .*$/gim), ['HOST: b.example']);
});

test('headers may be given by name', () => {
  const { text } = headOf({ headers: { accept: '*/*', host: 'b.example' } });
  assert.equal(text, 'GET /mcp HTTP/1.1\r\nconnection: keep-alive\r\naccept: */*\r\nhost: b.example\r\n\r\n');
});

test('a request for another protocol names it, and no other wants the connection for itself', () => {
  assert.match(headOf({ upgrade: 'websocket' }).text, /\r\nconnection: upgrade\r\nupgrade: websocket\r\n/);
  assert.doesNotMatch(headOf({}).text, /upgrade/);
});

for (const path of ['', ' ', '/a b', '/\u{1f600}']) {
  test(`a target "${path}" is refused`, () => {
    assert.throws(() => headOf({ path }), errors.InvalidArgumentError);
  });
}

test('a name that is empty is refused', () => {
  assert.throws(() => headOf({ headers: ['', 'x'] }), errors.InvalidArgumentError);
});

test('bytes beyond ASCII go out as they came in', () => {
  const { text } = headOf({ path: '/caf\xc3\xa9', headers: ['x-name', 'caf\xc3\xa9'] });
  assert.ok(Buffer.from(text, 'latin1').includes(Buffer.from('GET /café HTTP/1.1\r\n')));
  assert.ok(Buffer.from(text, 'latin1').includes(Buffer.from('x-name: café\r\n')));
});

for (const length of [1, 200, 201, 4096]) {
  test(`what would end a line, or be another character on the way, is not written in a value of ${length} characters`, () => {
    const place = Math.floor(length / 2);
    const valueWith = (character: string): string =>
      `${'x'.repeat(place)}${character}${'x'.repeat(length - place - 1)}`;
    for (const character of ['\r', '\n', '\0', '\u010a', '\uff0d']) {
      for (const options of [{ headers: ['authorization', valueWith(character)] }, { upgrade: valueWith(character) }]) {
        assert.throws(() => headOf(options), errors.InvalidArgumentError, JSON.stringify(character));
      }
    }
    for (const character of ['\t', ' ', '\u00ff']) {
      const value = valueWith(character);
      assert.ok(headOf({ headers: ['x-name', value] }).text.includes(`\r\nx-name: ${value}\r\n`));
    }
  });
}
