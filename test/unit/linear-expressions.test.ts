import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SyntaxKind } from 'typescript/unstable/ast';
import { superlinearLoops } from '../harness/linear-expression.ts';
import { tokensOf } from '../harness/plain-language.ts';

/** Expressions that may take more than linear time, and the reason why no input from outside makes them slow. */
const BOUNDED: Readonly<Record<string, string>> = {
  'admin/hide-keys.ts KEY_LIKE': 'it reads path segments of URLs in the config',
  "doctor/check-trust.ts /^(\\w+)='((?:[^']|'\\\\'')*)'$/gm": 'it reads a file that cambist wrote',
  'observability/logged-error.ts EMAIL': 'the text is shortened to 1,200 characters',
  'proxy/find-route.ts /charset[^=]*=\\s*"?([^";,\\s]*)/gi': 'the text has at most 256 characters',
};

/** Expressions that are built at run time. */
const BUILT: Readonly<Record<string, string>> = {
  'config/match.ts': 'it reads host names of the config, of at most 253 characters',
  'doctor/check-through.ts': 'it searches for a random text, whose digits no other loop reads',
  'inbound/baggage.ts': 'it reads members of at most 4,096 characters, and its loops share no text',
  'kubernetes/agent-port.ts': 'it searches for a number, and has no loop',
};

const SRC = new URL('../../src/', import.meta.url);

test('every expression of the sources takes linear time, or has a short input', () => {
  const slow: string[] = [];
  const built = new Set<string>();
  for (const name of readdirSync(SRC, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    let declared = '';
    let previous = '';
    for (const { token, text } of tokensOf(readFileSync(new URL(name, SRC), 'utf8'))) {
      if (text.trim() === '') continue;
      if (previous === 'const') declared = text;
      if (text === 'RegExp' && previous === 'new') built.add(name);
      if (token === SyntaxKind.RegularExpressionLiteral && superlinearLoops(text).length > 0) {
        slow.push(`${name} ${previous === '=' && /^[A-Z_]+$/.test(declared) ? declared : text}`);
      }
      previous = text;
    }
  }
  assert.deepEqual(slow.sort(), Object.keys(BOUNDED).sort());
  assert.deepEqual([...built].sort(), Object.keys(BUILT).sort());
});

test('finds loops that share text with the start of the search, with each other, or with themselves', () => {
  for (const slow of [
    /\/+$/,
    /^\s*a/m,
    /audience .*invalid/i,
    /charset[^=]*=/,
    /^a*b?a*$/,
    /^[a-z]+:\/\/[^?]*[^#]*$/,
    /^(?:a+)+$/,
    /^(?:a|a)*$/,
    /^(?:\w|%\d\d|[a-f])*$/,
    /^.*foo.*bar$/,
    /^(?:.(?=.*a))*$/,
    /^[!-~]+[ \t]*=[ \t]*[!-~]*[ \t]*(?:;.*)?$/,
    /-----BEGIN-----[\s\S]+?-----END-----/g,
    /(?<!ab)a+$/,
  ]) {
    assert.notDeepEqual(superlinearLoops(String(slow)), [], String(slow));
  }
  for (const linear of [
    /^\/+$/,
    /(?<!\/)\/+$/,
    /[?#].*/s,
    /\s+/g,
    /\s+$/y,
    /^(?:"[^"]*",)*$/,
    /^[a-z]+(?:-[a-z]+)*$/,
    /'-Da=([^']*)'/,
    /-----BEGIN-----[^-]+-----END-----/g,
    /(?:[\w-]|%[0-9A-F]{2}){20,}(?:\.(?:[\w-]|%[0-9A-F]{2})+)*/g,
    /(?<=\{\r?\n)[ \t]+(?=")/,
  ]) {
    assert.deepEqual(superlinearLoops(String(linear)), [], String(linear));
  }
});
