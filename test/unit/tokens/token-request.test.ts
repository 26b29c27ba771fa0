import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import type { TokenTarget } from '../../../src/config/route.ts';
import { constantField, encodeForm, formDecode, formEncode, formField } from '../../../src/tokens/sent-values.ts';
import { buildTokenRequest, type Grant } from '../../../src/tokens/token-request.ts';
import { EXCHANGE, JWT, serverOf, targetOf } from './sample.ts';

const DELEGATION: Grant = { ...EXCHANGE, actor: { token: 'actor', type: JWT } };
const OWN: Grant = { kind: 'client_credentials' };

const exchangeForm =
  'grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=subject&subject_token_type=urn:ietf:params:oauth:token-type:access_token';
const actorForm = '&actor_token=actor&actor_token_type=urn:ietf:params:oauth:token-type:jwt';

interface Case {
  grant?: Grant;
  target?: Partial<TokenTarget>;
  server?: Partial<AuthorizationServer>;
  form: string;
}

const requests: Record<string, Case> = {
  'an exchange for several resources': {
    target: { resource: ['https://b', 'https://a'] },
    form: `${exchangeForm}&resource=https://b&resource=https://a`,
  },
  'an exchange for audiences': {
    target: { audience: ['github', 'docs'] },
    form: `${exchangeForm}&audience=github&audience=docs`,
  },
  'an exchange with every parameter': {
    grant: DELEGATION,
    target: { resource: ['https://h'], audience: ['github'], scope: 'a b', requestedTokenType: JWT },
    server: { extraParams: [['connector_id', 'x']] },
    form: `${exchangeForm}${actorForm}&resource=https://h&audience=github&scope=a b&requested_token_type=urn:ietf:params:oauth:token-type:jwt&connector_id=x`,
  },
  'an exchange with an empty scope': { target: { scope: '' }, form: `${exchangeForm}&scope=` },
  'client credentials with every parameter but requested_token_type, which belongs to exchanges': {
    grant: OWN,
    target: { resource: ['https://h'], audience: ['github'], scope: 'a', requestedTokenType: JWT },
    server: {
      extraParams: [
        ['x', '1'],
        ['y', '2'],
      ],
    },
    form: 'grant_type=client_credentials&resource=https://h&audience=github&scope=a&x=1&y=2',
  },
};
for (const [what, { grant = EXCHANGE, target = {}, server = {}, form }] of Object.entries(requests)) {
  test(`requests exactly the required parameters: ${what}`, () => {
    const fields = buildTokenRequest(grant, targetOf({ resource: [], ...target }), serverOf(server));
    assert.equal(fields.map(({ name, value }) => `${name}=${value}`).join('&'), form);
  });
}

test('sends each parameter of a route once, in every combination', () => {
  for (const grant of [EXCHANGE, DELEGATION, OWN]) {
    for (const resource of [[], ['https://h']]) {
      for (const audience of [[], ['a']]) {
        for (const scope of [undefined, 's']) {
          for (const requestedTokenType of [undefined, JWT]) {
            const target = targetOf({ resource, audience, scope, requestedTokenType });
            const names = buildTokenRequest(grant, target, serverOf()).map(({ name }) => name);
            const expected: string[] = [
              'grant_type',
              ...(grant === OWN ? [] : ['subject_token', 'subject_token_type']),
              ...(grant === DELEGATION ? ['actor_token', 'actor_token_type'] : []),
              ...resource.map(() => 'resource'),
              ...audience.map(() => 'audience'),
              ...(scope === undefined ? [] : ['scope']),
              ...(requestedTokenType === undefined || grant === OWN ? [] : ['requested_token_type']),
            ];
            assert.deepEqual(names, expected);
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
