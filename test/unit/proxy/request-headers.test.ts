import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { headerValues, isChunkedOrPlain } from '../../../src/proxy/headers.ts';
import {
  type RequestHeaderRules,
  upstreamHeaders,
  withDashes,
  withheldHeaders,
} from '../../../src/proxy/request-headers.ts';
import { configOf } from '../../harness/app.ts';
import { words } from '../../harness/words.ts';

const RULES: RequestHeaderRules = {
  host: 'backend.example.com',
  withheld: new Set(['authorization']),
  callerTokens: ['callers-own-token'],
  requestId: 'id-1',
};

/** The headers sent upstream, without the two that cambist always sets. */
function sent(raw: string[], rules: Partial<RequestHeaderRules> = {}): string[] {
  const headers = upstreamHeaders(raw, { ...RULES, ...rules });
  assert.deepEqual(headers.slice(0, 2), ['host', 'backend.example.com']);
  assert.deepEqual(headers.slice(-2), ['x-request-id', 'id-1']);
  return headers.slice(2, -2);
}

test('loses hop-by-hop headers in any letter case on the way upstream', () => {
  for (const name of words(`
    Connection keep-alive Proxy-Authenticate PROXY-AUTHORIZATION Proxy-Connection TE Trailer Transfer-Encoding
    Upgrade HTTP2-Settings Expect
  `)) {
    assert.deepEqual(sent([name, 'x', 'Kept', 'y']), ['Kept', 'y'], name);
  }
});

test('finds all values of a header in any letter case, and none of a longer name', () => {
  assert.deepEqual(headerValues(['Host', 'a', 'hosts', 'b', 'HOST', 'c', 'x-host', 'd'], 'host'), ['a', 'c']);
  assert.deepEqual(headerValues([], 'host'), []);
});

const OVERRIDES = words(`
  x-http-method-override x-http-method x-method-override x-original-method x-original-url x-original-uri
  x-rewrite-url x_http_method_override x-original_url
`);

const tokens = new Set(['authorization', 'x-user-token']);
/** With one route for each match, which may also have a credential, the header of the subject token, and other keys. */
const withheldWith = (top: Record<string, unknown>, ...matches: Record<string, unknown>[]) => {
  const routes = matches.map(({ credential = 'none', header, more = {}, ...match }, index) => ({
    ...{ name: `r${index}`, match, upstream: 'http://127.0.0.1:1', credential, ...(more as object) },
    ...(header !== undefined && { subject_token: { header } }),
  }));
  return withheldHeaders(configOf({ ...top, routes }), tokens);
};
const onRoutes = ({ onRoute }: ReturnType<typeof withheldHeaders>) => [...onRoute.values()].map((names) => [...names]);

test('withholds token headers, proofs and the host header, in every spelling with an underscore', () => {
  const { common } = withheldWith({ host_header: 'x-kagent-host' }, { host: 'h' });
  for (const name of ['authorization', 'dpop', 'x-user-token', 'x_user_token', 'x-user_token', 'x_kagent-host']) {
    assert.ok(common.has(withDashes(name)), name);
  }
  assert.ok(!common.has('x-http-method-override'));
});

test('withholds override headers if a route matches by path, method or message', () => {
  for (const match of [{ path: '/mcp' }, { host: 'h', methods: ['GET'] }, { host: 'h', mcp_name: 'x' }]) {
    const { common } = withheldWith({}, { host: 'other' }, match);
    for (const name of OVERRIDES) assert.ok(common.has(withDashes(name)), name);
  }
  const { common } = withheldWith({}, { host: 'one' }, { host: '*.two' }, { path: '/' });
  for (const name of OVERRIDES) assert.ok(!common.has(withDashes(name)), name);
});

test('treats names that are configured with underscores like those with dashes', () => {
  const own = { host: 'h', credential: 'passthrough', header: 'x_own_token' };
  const withheld = withheldWith({ host_header: 'x_kagent_host' }, own);
  assert.deepEqual([...withheld.common], ['authorization', 'x-user-token', 'dpop', 'x-kagent-host']);
  assert.deepEqual(onRoutes(withheld), [['x-user-token', 'x-kagent-host']]);
});

test('withholds the header that send names on its route, in every spelling', () => {
  const more = { secret: { file: '/key' }, send: { header: 'X_Api-Key' } };
  const withheld = withheldWith({}, { host: 'h', credential: 'secret', more });
  assert.deepEqual(onRoutes(withheld), [[...withheld.common, 'x-api-key']]);
  assert.ok(!withheld.common.has('x-api-key'));
});

test('lets the token header of a passthrough route pass on that route, but no other withheld header', () => {
  const own = { credential: 'passthrough', header: 'x-own-token', path: '/own' };
  const { onRoute } = withheldWith({ host_header: 'x-kagent-host' }, { path: '/x' }, own);
  const [withheld] = onRoute.values();
  for (const name of words('authorization dpop x-own-token'))
    assert.equal(withheld?.has(withDashes(name)), false, name);
  for (const name of [...words('x-user-token x_user_token x-kagent-host'), ...OVERRIDES]) {
    assert.ok(withheld?.has(withDashes(name)), name);
  }
});

const TOKEN = 'eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl';

/** Names with a meaning in any letter case, and arbitrary names. */
const MEANINGFUL = words(`
  host connection authorization x-request-id te upgrade expect content-length x-a x-b set-cookie __proto__ constructor
`);
const name = fc.oneof(
  fc
    .tuple(fc.constantFrom(...MEANINGFUL), fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }))
    .map(([text, upper]) => [...text].map((char, i) => (upper[i % 4] === true ? char.toUpperCase() : char)).join('')),
  fc.string({ unit: 'binary-ascii', maxLength: 8 }),
  fc.constant(`x-${TOKEN}`),
);
const OPTIONS = ['', 'close', 'keep-alive', 'Keep-Alive, X-A', 'x-a,,x-b ,', 'authorization, content-length', ','];
const value = fc.oneof(
  fc.constantFrom(...OPTIONS, TOKEN),
  fc.string({ unit: 'binary-ascii', maxLength: 20 }),
  fc.string({ maxLength: 5 }).map((text) => text + TOKEN + text),
);
const rawHeaders = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((lines) => lines.flat());

const HOP_BY_HOP = ['connection', 'te', 'upgrade', 'expect'];

test('sends all headers upstream in order but its own, hop-by-hop, listed and withheld ones, and those with a token', () => {
  fc.assert(
    fc.property(rawHeaders, (raw) => {
      const lines: string[][] = [];
      for (let i = 0; i < raw.length; i += 2) lines.push(raw.slice(i, i + 2));
      const listed = lines
        .filter(([key]) => key?.toLowerCase() === 'connection')
        .flatMap(([, options]) => (options as string).toLowerCase().split(','))
        .map((option) => option.trim())
        .filter((option) => option !== 'content-length');
      const gone = new Set([...HOP_BY_HOP, 'host', 'x-request-id', 'authorization', ...listed]);
      const kept = lines.filter(([key]) => !gone.has((key as string).toLowerCase()));
      const clean = kept.filter((line) => !line.some((part) => part.includes(TOKEN)));
      assert.deepEqual(sent(raw, { callerTokens: [TOKEN] }), clean.flat());
    }),
    { numRuns: 3000 },
  );
});

test('a message is chunked or plain unless it names another transfer coding, or several', () => {
  const isAccepted = (...codings: string[]) =>
    isChunkedOrPlain(['Content-Type', 'text/plain', ...codings.flatMap((coding) => ['Transfer-Encoding', coding])]);
  for (const codings of [[], ['chunked'], ['Chunked']]) assert.equal(isAccepted(...codings), true, codings.join('+'));
  for (const codings of [['gzip'], [''], ['gzip, chunked'], ['chunked', 'gzip'], ['chunked', 'chunked']]) {
    assert.equal(isAccepted(...codings), false, codings.join('+'));
  }
});
