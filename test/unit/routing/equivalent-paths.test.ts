import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRequestTarget, type RequestTarget } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { words } from '../../harness/words.ts';
import { routeOf } from './sample-routes.ts';

/** A strict route, a route for its tools, and a route for all other paths. */
const table = createRouteTable([
  routeOf('strict', { path: '/mcp' }),
  routeOf('stricter', { path: '/mcp/admin' }),
  routeOf('listening', {
    path: '/mcp',
    conditions: { methods: ['GET'], mcpMethods: undefined, mcpNames: undefined },
  }),
  routeOf('named', { host: 'h', path: '/files' }),
  routeOf('rest', { path: '/' }),
]);

const targetOf = (path: string): RequestTarget => parseRequestTarget(path, ['h']);
const GET = { method: 'GET', message: undefined };
const names = (target: RequestTarget) => table.candidates(target).map(({ name }) => name);

const DISGUISED = words(`
  /%6dcp /%6Dcp/x //mcp ///mcp//x /;x=1/mcp /mcp;x=1 /mcp;x=1/admin /mcp%3Bx /mcp%20 /mcp%00 /mcp%00.json /mcp%0d%0A
  /mcp%09%20/admin /mcp%2fx /mcp/%61dmin /mcp//admin /mcp/%2Fadmin /mcp/x%2f /mcp%5Cadmin /mcp%3fx /mcp/admin%23x
  /file%73
`);

for (const path of [...DISGUISED, '/mcp\\admin', '/\\mcp']) {
  test(`${path} does not bypass the routes of its plain spelling`, () => {
    const found = table.match(targetOf(path), GET);
    // A path with the same routes in both spellings may pass.
    if (path === '/mcp/x%2f') assert.equal(found?.name, 'listening');
    else assert.equal(found, undefined);
  });
}

for (const path of words(`
  /mcp/a%20b /mcp/a%2Fb/%E2%82%AC /mcp/%zz/% /mcp/x;v=1 /mcp//x /mcp/100%25 /mcp/%7Euser /x%20y /mcp/
`)) {
  test(`${path} is harmless and stays unchanged`, () => {
    const target = targetOf(path);
    assert.equal(target.path, path);
    assert.equal(table.match(target, GET)?.name, path.startsWith('/mcp') ? 'listening' : 'rest');
  });
}

/** A spelling of one character that some server reads as that character. */
const spelling = (char: string) => {
  const hex = char.charCodeAt(0).toString(16);
  return fc.oneof({ weight: 8, arbitrary: fc.constant(char) }, fc.constantFrom(`%${hex}`, `%${hex.toUpperCase()}`));
};
const slash = fc.constantFrom('/', '/', '//', '/;/', '%2f', '/%2F', '\\', '%5C');
const segmentEnd = fc.constantFrom('', '', '', '', ';', ';a=b', '%3bx', '%20', '%00', '%00.css', '%09%0a', '%3Fx');
const segment = fc.constantFrom('mcp', 'admin', 'files', 'x', 'mc');
const respelt = fc.array(segment, { minLength: 1, maxLength: 3 }).chain((segments) =>
  fc.record({
    plain: fc.constant(`/${segments.join('/')}`),
    written: fc
      .tuple(
        ...segments.map((text) =>
          fc
            .tuple(slash, fc.tuple(...[...text].map(spelling)), segmentEnd)
            .map(([before, chars, end]) => before + chars.join('') + end),
        ),
      )
      .map((parts) => parts.join('').replace(/^(?!\/)(?:%2f|\\|%5c)?/i, '/')),
  }),
);

test('finds the routes of the plain path or none, whatever the spelling', () => {
  fc.assert(
    fc.property(respelt, fc.constantFrom('GET', 'POST'), ({ plain, written }, method) => {
      const target = targetOf(written);
      if (table.match(target, { method, message: undefined }) === undefined) return;
      assert.deepEqual(names(target), names(targetOf(plain)));
      assert.equal(target.path, written);
    }),
    { numRuns: 2000 },
  );
});

test('leaves a plain path unchanged', () => {
  const path = fc
    .array(fc.constantFrom('mcp', 'a-b_c.d~e', 'admin', ''), { maxLength: 4 })
    .map((all) => `/${all.join('/')}`);
  fc.assert(
    fc.property(path, (text) => {
      const { plainPath } = targetOf(text);
      assert.equal(plainPath === undefined, !text.includes('//'));
      if (plainPath !== undefined) assert.equal(targetOf(plainPath).plainPath, undefined);
    }),
  );
});

test('parses a long path of escapes in linear time', () => {
  const path = `/mcp${'%20'.repeat(300_000)}x`;
  const target = targetOf(path);
  assert.equal(target.path, path);
  assert.equal(target.plainPath, undefined);
});
