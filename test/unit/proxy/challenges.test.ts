import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  insufficientScope,
  parseChallenges,
  withoutScopeChallenges,
  withResourceMetadata,
} from '../../../src/proxy/challenges.ts';
import { fuzz } from '../../fuzz/targets/challenges.ts';

/** Schemes with their parameters, as text without positions. */
function parsed(text: string) {
  const written = parseChallenges(text)?.map(({ scheme, parameters }) => {
    return `${scheme}(${parameters.map(({ name, value }) => `${name}=${value}`).join('; ')})`;
  });
  return written?.join(' ');
}

test('parses every form of challenge that the RFC allows', () => {
  for (const [text, challenges] of [
    ['', ''],
    ['Bearer', 'bearer()'],
    ['Bearer realm="a"', 'bearer(realm=a)'],
    ['BEARER Realm=a,error="b"', 'bearer(realm=a; error=b)'],
    ['Bearer  a = "b" ,\tc\t=d', 'bearer(a=b; c=d)'],
    ['Bearer a="x, Basic realm=\\"y\\"", b=c', 'bearer(a=x, Basic realm="y"; b=c)'],
    ['Basic realm="x", Bearer error="e", scope="s t"', 'basic(realm=x) bearer(error=e; scope=s t)'],
    ['Negotiate, Bearer a=b', 'negotiate() bearer(a=b)'],
    ['Negotiate YWJj==, Bearer', 'negotiate() bearer()'],
    [', ,Bearer a=b,, c=d, ,Basic', 'bearer(a=b; c=d) basic()'],
    ['Bearer a=""', 'bearer(a=)'],
  ] as const) {
    assert.equal(parsed(text), challenges, text);
  }
});

test('rejects malformed and overlong challenges', () => {
  for (const text of [
    'realm="x"',
    '"Bearer"',
    'Bearer a="x',
    'Bearer a= ,b=',
    'Bearer a=b c=d',
    'Bearer a="b"c',
    'Bearer a=b; c=d',
    'Bearer a="\x01"',
    '=',
    `Bearer a="${'x'.repeat(4096)}"`,
  ]) {
    assert.equal(parseChallenges(text), undefined, text.slice(0, 40));
  }
});

test('neither throws nor hangs on hostile text', () => {
  const part = fc.constantFrom('Bearer', ' ', '=', '"', '\\', ',', 'a', '==', '\t', 'error="insufficient_scope"', 'ä');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 300 }), (parts) => fuzz(Buffer.from(parts.join(''), 'latin1'))),
    { numRuns: 3000 },
  );
  const repeated = ['a='.repeat(2048), '"\\'.repeat(2048), ' '.repeat(4096), `Bearer ${'a'.repeat(4000)}=`];
  for (const text of [...repeated, ','.repeat(4096)]) parseChallenges(text);
});

test('reads the missing scopes of an insufficient_scope challenge', () => {
  for (const [values, scopes] of [
    [['Bearer error="insufficient_scope", scope="a b  a"'], ['a', 'b']],
    [['bearer scope=a, error=insufficient_scope, resource_metadata="https://h/x"'], ['a']],
    [['Basic realm="x"', 'Bearer error="insufficient_scope", scope="a"'], ['a']],
    [['Basic realm="x", Bearer error="insufficient_scope", scope="a"'], ['a']],
    [['Bearer error="insufficient_scope"'], undefined],
    [['Bearer error="insufficient_scope", scope=""'], undefined],
    [['Bearer error="invalid_token", scope="a"'], undefined],
    [['DPoP error="insufficient_scope", scope="a"'], undefined],
    [['Bearer scope="a", Basic error="insufficient_scope"'], undefined],
    [['Bearer error="insufficient_scope", scope="a", scope="b"'], undefined],
    [['Bearer error="insufficient_scope", scope="a"', 'Bearer error="insufficient_scope", scope="b"'], undefined],
    [['Bearer error="insufficient_scope", scope="a'], undefined],
    [[], undefined],
  ] as const) {
    assert.deepEqual(insufficientScope(values), scopes, values.join(' | '));
  }
});

const OURS = 'http://127.0.0.1:8180/.well-known/oauth-protected-resource/github';

test('reads no challenge behind the first 4 KiB of all headers', () => {
  const wanted = 'Bearer error="insufficient_scope", scope="a"';
  const long = `Basic realm="${'x'.repeat(2000)}"`;
  assert.deepEqual(insufficientScope([long, wanted]), ['a']);
  assert.equal(insufficientScope([long, long, long, wanted]), undefined);
});

test('replaces the metadata URL of a challenge and keeps every other byte', () => {
  for (const [value, ours, none] of [
    ['Bearer error="x", scope="a"', 'Bearer error="x", scope="a"', 'Bearer error="x", scope="a"'],
    ['Bearer resource_metadata="https://h/x"', `Bearer resource_metadata="${OURS}"`, 'Bearer '],
    ['Bearer Resource_Metadata=https, b="c"', `Bearer Resource_Metadata="${OURS}", b="c"`, 'Bearer b="c"'],
    [
      'Bearer a=b ,  resource_metadata = "x\\"y" , c=d',
      `Bearer a=b ,  resource_metadata = "${OURS}" , c=d`,
      'Bearer a=b , c=d',
    ],
    [
      'Bearer resource_metadata="a", Basic realm="resource_metadata", DPoP x=y, resource_metadata="b"',
      `Bearer resource_metadata="${OURS}", Basic realm="resource_metadata", DPoP x=y, resource_metadata="${OURS}"`,
      'Bearer , Basic realm="resource_metadata", DPoP x=y',
    ],
  ] as const) {
    assert.equal(withResourceMetadata(value, OURS), ours);
    assert.equal(withResourceMetadata(value, undefined), none);
    assert.notEqual(parseChallenges(none), undefined);
  }
});

test('drops a malformed challenge that names metadata', () => {
  for (const value of [
    'Bearer resource_metadata="https://h',
    'Bearer a="b"resource_metadata="c"',
    'Bearer resource_metadata=a, resource_metadata=b',
    `Bearer resource_metadata="${'x'.repeat(5000)}"`,
  ]) {
    assert.equal(withResourceMetadata(value, OURS), undefined, value.slice(0, 60));
  }
});

test('removes the challenges that ask for scopes, and no others', () => {
  const scoped = 'Bearer error="insufficient_scope", scope="a b"';
  for (const [value, rest] of [
    [scoped, undefined],
    ['DPoP scope=a, error=insufficient_scope', undefined],
    ['Bearer error="Insufficient_Scope"', undefined],
    [`Basic realm="x", ${scoped}`, 'Basic realm="x"'],
    [`${scoped}, Basic realm="x" ,`, 'Basic realm="x"'],
    [`Negotiate YWJj==, ${scoped}, Basic realm="x"`, 'Negotiate YWJj==, Basic realm="x"'],
    ['Bearer error="insufficient_scope', undefined],
    ['Bearer error="insufficient\\_scope"', undefined],
    ['Bearer error="invalid_token', 'Bearer error="invalid_token'],
    ['Bearer error="invalid_token", scope="a"', 'Bearer error="invalid_token", scope="a"'],
    ['Bearer error_description="insufficient_scope"', 'Bearer error_description="insufficient_scope"'],
    ['malformed "', 'malformed "'],
  ] as const) {
    const kept = withoutScopeChallenges(value, () => false);
    assert.equal(kept, rest, value);
  }
});

test('keeps a challenge for scopes that the caller may request', () => {
  const asked: (readonly string[])[] = [];
  const mayKeep = (scopes: readonly string[]): boolean => {
    asked.push(scopes);
    return true;
  };
  for (const value of ['Bearer error="insufficient_scope", scope="a b a"', 'Bearer error="insufficient_scope"']) {
    assert.equal(withoutScopeChallenges(value, mayKeep), value);
  }
  assert.deepEqual(asked, [['a', 'b'], []]);
});
