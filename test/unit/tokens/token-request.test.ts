import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TokenTarget } from '../../../src/config/route.ts';
import {
  constantField,
  digestsOf,
  encodeForm,
  findRepeated,
  formDecode,
  formEncode,
  formField,
  hideCredentials,
  type SentValue,
  sentInBasic,
} from '../../../src/tokens/sent-values.ts';
import { buildTokenRequest, type Grant } from '../../../src/tokens/token-request.ts';
import { ACCESS_TOKEN, EXCHANGE, JWT, jwtOf, serverOf, targetOf } from './sample.ts';

const DELEGATION: Grant = { ...EXCHANGE, actor: { token: 'actor', type: JWT } };
const OWN: Grant = { kind: 'client_credentials' };

/** The fields that must be sent, in their order. */
function expectedFields(grant: Grant, { resource, audience, scope, requestedTokenType }: TokenTarget) {
  const type = grant === OWN ? 'client_credentials' : 'urn:ietf:params:oauth:grant-type:token-exchange';
  const subject = [`subject_token=subject`, `subject_token_type=${ACCESS_TOKEN}`];
  return [
    `grant_type=${type}`,
    ...(grant === OWN ? [] : subject),
    ...(grant === DELEGATION ? ['actor_token=actor', `actor_token_type=${JWT}`] : []),
    ...resource.map((uri) => `resource=${uri}`),
    ...audience.map((name) => `audience=${name}`),
    ...(scope === undefined ? [] : [`scope=${scope}`]),
    // It belongs to exchanges.
    ...(requestedTokenType === undefined || grant === OWN ? [] : [`requested_token_type=${requestedTokenType}`]),
    'x=1',
    'y=2',
  ];
}

test('sends each parameter of a route once, in every combination', () => {
  const extraParams = Object.entries({ x: '1', y: '2' });
  for (const grant of [EXCHANGE, DELEGATION, OWN]) {
    for (const resource of [[], ['https://b', 'https://a/mcp']]) {
      for (const audience of [[], ['github', 'docs']]) {
        for (const scope of [undefined, '', 'a b']) {
          for (const requestedTokenType of [undefined, JWT]) {
            const target = targetOf({ resource, audience, scope, requestedTokenType });
            const fields = buildTokenRequest(grant, target, serverOf({ extraParams }));
            const sent = fields.map(({ name, value }) => `${name}=${value}`);
            assert.deepEqual(sent, expectedFields(grant, target));
          }
        }
      }
    }
  }
});

const text = fc.string({ unit: fc.constantFrom(..."aZ09-_.~*!'()+/=&%: ?#@é€\u{1f511}\ud800") });

const name = fc.oneof(text, fc.constantFrom('resource', 'subject_token'));
const makeField = fc.constantFrom(formField, constantField);

test('a form parser reads what was encoded, with a replacement for invalid Unicode', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(name, text, makeField)), (inputs) => {
      const expected = inputs.map(([name, value]) => [name.toWellFormed(), value.toWellFormed()]);
      const fields = inputs.map(([name, value, make]) => make(name, value));
      assert.deepEqual([...new URLSearchParams(encodeForm(fields))], expected);
      for (const { value } of fields) assert.equal(formDecode(formEncode(value)), value.toWellFormed());
    }),
  );
});

test('leaves a token as it is', () => {
  assert.equal(formEncode('eyJhbGciOiJub25lIn0.e30.c2ln-_~'), 'eyJhbGciOiJub25lIn0.e30.c2ln-_~');
  assert.equal(encodeForm([formField('subject_token', 'a.b.c')]), 'subject_token=a.b.c');
  assert.equal(encodeForm([]), '');
});

const TOKEN = jwtOf({ sub: 'alice', aud: ['cambist', 'https://github.example.com/mcp'], jti: '?>?>' });
const credential = (value: string, name = 'subject_token'): SentValue => ({ name, value, isCredential: true });
const parameter = (value: string, name = 'resource'): SentValue => ({ name, value, isCredential: false });

/** The last character of a Base64 text of 32 bytes has two unused bits. */
const SIGNED = `${TOKEN.split('.').slice(0, 2).join('.')}.${Buffer.alloc(32, 250).toString('base64url')}`;

const repeated: [what: string, token: string, sent: string][] = [
  ['the same token', TOKEN, TOKEN],
  ['the same opaque token', 'opaque/Token+7', 'opaque/Token+7'],
  ['several schemes, whatever their letter case', `bEARER DPoP Bearer ${TOKEN}`, TOKEN],
  ['a scheme in the sent value', 'abc', 'Basic abc'],
  ['white space around', ` \t${TOKEN}\r\n`, TOKEN],
  ['much padding after a short secret', `secret${'='.repeat(20)}`, 'secret'],
  ['padding in each part', TOKEN.split('.').join('==.'), TOKEN],
  ['the other Base64 alphabet', SIGNED.replaceAll('-', '+').replaceAll('_', '/'), SIGNED],
  ['other unused bits', `${SIGNED.slice(0, -1)}${SIGNED.endsWith('o') ? 'p' : 'x'}`, SIGNED],
  ['a tilde at the end, as in SD-JWT', `${TOKEN}~`, TOKEN],
  ['text in front', `prefix.${TOKEN}`, TOKEN],
  ['a long secret inside', 'xxABCDEFGHIJKLMNOPxx', 'ABCDEFGHIJKLMNOP'],
];
for (const [what, token, sent] of repeated) {
  test(`finds a repeated credential: ${what}`, () => {
    assert.equal(findRepeated(token, [parameter('https://h'), credential(sent)]), 'subject_token');
  });
}

const different: [what: string, token: string, sent: SentValue][] = [
  ['another token', jwtOf({ sub: 'alice' }), credential(TOKEN)],
  ['a secret of 15 characters inside', 'xxABCDEFGHIJKLMNOxx', credential('ABCDEFGHIJKLMNO')],
  ['a parameter inside', 'https://h/token-for-abcdefghijklmnop', parameter('abcdefghijklmnop')],
  ['another letter case', TOKEN.toLowerCase(), credential(TOKEN)],
  ['part of the credential', TOKEN.split('.').slice(0, 2).join('.'), credential(TOKEN)],
  ['an empty value', 'token', credential('')],
  ['a value of padding alone', '~', credential('==')],
];
for (const [what, token, sent] of different) {
  test(`does not find: ${what}`, () => {
    assert.equal(findRepeated(token, [sent]), undefined);
  });
}

test('finds a value of an earlier leg by its digest', () => {
  const earlier = digestsOf([credential(TOKEN), credential('first-secret', 'client_secret'), credential('')]);
  assert.match(findRepeated(`${TOKEN}==`, [], earlier) ?? '', /first authorization server/);
  assert.match(findRepeated('first-secret', [], earlier) ?? '', /first authorization server/);
  assert.equal(findRepeated('issued', [], earlier), undefined);
  for (const digest of earlier) assert.match(digest, /^[\w-]{43}$/);
});

/** Decodes every part of both texts, as the specification of `findRepeated`. */
function isRepeated(token: string, { value, isCredential }: SentValue): boolean {
  const [issued = '', own = ''] = [token, value].map((text) =>
    text
      .trim()
      .replace(/^(?:(?:bearer|dpop|basic)\s+)+/i, '')
      .split('.')
      .map((part) => (/^[\w+/-]+=*$/.test(part) ? Buffer.from(part, 'base64').toString('base64url') : part))
      .join('.'),
  );
  return value !== '' && (issued === own || (isCredential && own.length >= 16 && issued.includes(own)));
}

test('finds the same as a comparison of the decoded texts', () => {
  const piece = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'abYZ09-_+/=.~: '), maxLength: 40 }),
    fc.uint8Array({ minLength: 10, maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('base64url')),
    fc.constantFrom('a', '.', '=', '==', 'Bearer ', 'dpop basic '),
  );
  const text = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(''));
  const dotted = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join('.'));
  const spell = fc.constantFrom<(text: string) => string>(
    (own) => own,
    (own) => own.replaceAll('-', '+').replaceAll('_', '/'),
    (own) => own.split('.').join('=.'),
    (own) => `Bearer ${own}==`,
    (own) => own.slice(0, -1),
    (own) => `${own.slice(0, -1)}A`,
    (own) => own.slice(1),
    (own) => own.trim(),
  );
  const value = fc.oneof(text, dotted);
  fc.assert(
    fc.property(
      value,
      spell,
      value,
      value,
      fc.boolean(),
      fc.boolean(),
      (own, spelled, before, after, bare, isCredential) => {
        const token = bare ? spelled(own) : `${before}${spelled(own)}${after}`;
        const sent = { name: 'x', value: own, isCredential };
        assert.equal(findRepeated(token, [sent]) === 'x', isRepeated(token, sent));
      },
    ),
    { numRuns: 20_000 },
  );
});

test('marks the fields that hold credentials', () => {
  const names = ['subject_token', 'actor_token', 'assertion', 'client_secret', 'client_assertion'];
  const others = ['client_id', 'resource', 'audience', 'scope', 'subject_token_type', 'api_key'];
  const sent = [...names, ...others, 'client_secret'].map((name) => formField(name, 'x'));
  assert.deepEqual(
    sent.filter(({ isCredential }) => isCredential).map(({ name }) => name),
    [...names, 'client_secret'],
  );
  assert.equal(sent.length, names.length + others.length + 1);
});

for (const [pair, user, password] of [
  ['cambist:s3cr3t', 'cambist', 's3cr3t'],
  ['https%3A%2F%2Fid:a%3Ab+c', 'https://id', 'a:b c'],
  ['id:100%:x', 'id', '100%:x'],
] as const) {
  test(`finds user, password and both in Basic credentials "${pair}"`, () => {
    const encoded = Buffer.from(pair).toString('base64');
    const sent = sentInBasic(encoded);
    assert.equal(findRepeated(encoded, sent), 'Authorization');
    assert.equal(findRepeated(`Basic ${encoded}`, sent), 'Authorization');
    assert.equal(findRepeated(pair, sent), 'Authorization');
    assert.equal(findRepeated(password, sent), 'client_secret');
    assert.equal(findRepeated(user, sent), 'client_id');
  });
}

test('hides credentials, the longest first, and no parameters', () => {
  const sent = [credential('abc'), credential('abcdef'), credential(''), parameter('scope')];
  assert.equal(hideCredentials('abcdef abc scope', sent), '[redacted] [redacted] scope');
});
