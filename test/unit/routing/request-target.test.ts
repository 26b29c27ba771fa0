import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { usedHeapBytes } from '../../harness/heap.ts';
import { words } from '../../harness/words.ts';

const hostOf = (url: string, hosts: string[], named: string[] = []) => parseRequestTarget(url, hosts, named).host;
const MEBIBYTE = 1024 * 1024;

const pathOf = (url: string) => parseRequestTarget(url, ['h']).path;

describe('host', () => {
  test('is in lower case, without port and trailing dot', () => {
    for (const [written, host] of [
      ['github-mcp', 'github-mcp'],
      ['GitHub-MCP.Tools.SVC', 'github-mcp.tools.svc'],
      ['github-mcp:8080', 'github-mcp'],
      ['github-mcp:', 'github-mcp'],
      ['github-mcp.tools.svc.', 'github-mcp.tools.svc'],
      ['github-mcp.tools.svc.:443', 'github-mcp.tools.svc'],
      ['127.0.0.1:8180', '127.0.0.1'],
      ['[::1]', '[::1]'],
      ['[::1]:8180', '[::1]'],
      ['[2001:DB8::1]:8180', '[2001:db8::1]'],
    ]) {
      assert.equal(hostOf('/', [written as string]), host, written);
    }
  });

  test('does not depend on the previous request', () => {
    const hosts = ['a.example', 'A.example:80', 'b.example', 'user@a.example', ''];
    for (const before of hosts) {
      for (const host of hosts) {
        const alone = hostOf('/', [host]);
        hostOf('/', [before]);
        assert.equal(hostOf('/', [host]), alone, `${host} after ${before}`);
        hostOf('/', []);
        assert.equal(hostOf('/', [host]), alone, `${host} after none`);
      }
    }
    assert.equal(hostOf('/', []), undefined);
  });

  test('is remembered without its URL, which may contain a token', () => {
    const ask = (query: string) => hostOf(`http://known-again.example/?${query}`, ['h']);
    const before = usedHeapBytes();
    assert.equal(ask('x'.repeat(16 * MEBIBYTE)), 'known-again.example');
    // V8 itself keeps the text that it searched last.
    assert.equal(ask('y'), 'known-again.example');
    const keptBytes = usedHeapBytes() - before;
    assert.ok(keptBytes < MEBIBYTE, `${keptBytes} bytes`);
  });

  test('is undefined if the request names none or a malformed one', () => {
    assert.equal(hostOf('/', []), undefined);
    for (const host of ['', ' ', ':80', '.', 'user@github-mcp', 'github-mcp@evil', 'a'.repeat(261)]) {
      assert.equal(hostOf('/', [host]), undefined, host);
    }
  });

  test('is undefined if Host occurs twice, even with the same name', () => {
    assert.equal(hostOf('/', ['a', 'b']), undefined);
    assert.equal(hostOf('/', ['a', 'a']), undefined);
  });

  test('is the authority of an absolute-form target, whatever the Host', () => {
    assert.equal(hostOf('http://GitHub-MCP:8080/mcp', ['other']), 'github-mcp');
    assert.equal(hostOf('HTTPS://github-mcp/mcp', ['other', 'another']), 'github-mcp');
    assert.equal(hostOf('http://user:secret@github-mcp/mcp', ['github-mcp']), undefined);
    assert.equal(hostOf('http:///mcp', ['github-mcp']), undefined);
  });

  test('is the value of host_header if it occurs once', () => {
    assert.equal(hostOf('/', ['127.0.0.1'], ['GitHub-MCP']), 'github-mcp');
    assert.equal(hostOf('http://proxied/', ['127.0.0.1'], ['github-mcp']), 'github-mcp');
    assert.equal(hostOf('/', ['github-mcp'], ['a', 'b']), undefined);
    assert.equal(hostOf('/', ['github-mcp'], ['']), undefined);
  });
});

describe('path', () => {
  test('is unchanged, without the query', () => {
    for (const [url, path, query] of [
      ['/mcp', '/mcp', ''],
      ['/mcp?', '/mcp', '?'],
      ['/mcp?a=1&a=%2F..%2f&b=?', '/mcp', '?a=1&a=%2F..%2f&b=?'],
      ['/a%2Fb/%E2%82%AC/%zz/%', '/a%2Fb/%E2%82%AC/%zz/%', ''],
      ['http://h', '/', ''],
      ['http://h?a=1', '/', '?a=1'],
      ['http://h:80/x/?a', '/x/', '?a'],
      ['/http://h/x', '/http://h/x', ''],
    ]) {
      const target = parseRequestTarget(url as string, ['h']);
      assert.deepEqual([target.path, target.query], [path, query], url);
    }
  });

  test('is undefined if it has an invalid character, which some servers remove', () => {
    for (const url of ['/github/.\t./admin', '/github/..\t', '/github/.\n.', '/a b', '/caf\u00e9', '/\0', '/\x7f']) {
      assert.equal(pathOf(url), undefined, JSON.stringify(url));
    }
  });

  test('may contain dots that are not a whole segment', () => {
    for (const url of words('/.well-known/x /a..b /..a /a.. /... /github/v1.2/x /%2e%2e%2e /x?a=/../b')) {
      assert.notEqual(pathOf(url), undefined, url);
    }
  });

  test('is undefined if the target is not a path or has a fragment', () => {
    for (const url of ['', '*', 'github-mcp:443', 'ftp://h/x', '?a=1', 'mcp', '/mcp#x', 'http://h#x', '/#']) {
      assert.equal(pathOf(url), undefined, url);
    }
  });
});
