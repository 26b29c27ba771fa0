import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { CONSENT_INPUT, mayCarryState, resumeAfterConsent } from '../../../src/proxy/consent.ts';
import { wholeBody } from '../../../src/proxy/request-body.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { CONSENT_STATE } from '../../../src/routing/request-state.ts';
import type { Broker } from '../../../src/tokens/broker.ts';
import type { Session } from '../../../src/tokens/session.ts';
import { toSubject } from '../../../src/tokens/subject.ts';

const ROUTED = { route: { name: 'github' } } as Routed;
const SESSION = { subject: toSubject('opaque-token-of-alice') } as Session;
const STATE = `"requestState":"${CONSENT_STATE}"`;
const ACCEPTED = JSON.stringify({ [CONSENT_INPUT]: { action: 'accept' } });

const messageOf = (params: string): string => `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":${params}}`;

/** The body that the backend gets, or undefined where nothing is changed and the broker is told nothing. */
function resumed(text: string): string | undefined {
  const body = wholeBody(Buffer.from(text));
  if (!mayCarryState(body)) return undefined;
  const headers = ['Content-Length', String(Buffer.byteLength(text))];
  let consents = 0;
  const forgetRefusal = (): void => {
    consents += 1;
  };
  const broker = { forgetRefusal } as unknown as Broker;
  const next = resumeAfterConsent(ROUTED, SESSION, body, headers, broker);
  const content = next.replay() ?? Buffer.alloc(0);
  assert.equal(headers[1], String(content.length));
  assert.equal(consents, next === body ? 0 : 1);
  return next === body ? undefined : content.toString();
}

test('changes no body without a state of cambist', () => {
  const params = ['{"requestState":7}', '{"requestState":"x"}', `{"requestState":"${CONSENT_STATE}x"}`];
  params.push(`{"requestState":"x","name":"${CONSENT_STATE}"}`);
  const bodies = ['', '{', '[]', '7', '{"params":7}', `{${STATE}`, ...params.map(messageOf)];
  for (const text of bodies) assert.equal(resumed(text), undefined, text);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.json().map(messageOf)), (text) => {
      assert.equal(resumed(text), undefined);
    }),
  );
});

test('parses no body that is larger than a retry can be', () => {
  const withText = (length: number): string => messageOf(`{${STATE},"text":"${'x'.repeat(length)}"}`);
  assert.ok(resumed(withText(67_000))?.endsWith('x"}}'));
  assert.equal(resumed(withText(68 * 1024)), undefined);
});

test('takes the fields of the consent out and leaves all other bytes', () => {
  const rest = '"name":"list","arguments":{"big":2.0,"ratio":1e0}';
  const fields = `${STATE},"inputResponses":${ACCEPTED}`;
  for (const params of [`{${rest},${fields}}`, `{${fields},${rest}}`, `{ ${rest} , ${fields} }`]) {
    assert.equal(
      resumed(messageOf(params))?.replace(/\{ | \}| ,/g, (text) => text.trim()),
      messageOf(`{${rest}}`),
    );
  }
  assert.equal(resumed(messageOf(`{${STATE}}`)), messageOf('{}'));
});

test('resumes any call of any client', () => {
  const params = fc.dictionary(
    fc.string().filter((key) => !['requestState', 'inputResponses', '__proto__'].includes(key)),
    fc.jsonValue(),
    { maxKeys: 5 },
  );
  fc.assert(
    fc.property(params, fc.constantFrom(undefined, 2, '\t'), (fields, indent) => {
      const retry = { ...fields, requestState: CONSENT_STATE, inputResponses: JSON.parse(ACCEPTED) };
      const sent = JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: retry }, null, indent);
      assert.deepEqual(JSON.parse(String(resumed(sent))).params, JSON.parse(JSON.stringify(fields)));
    }),
  );
});

test('leaves a state alone that is an argument of a tool', () => {
  const argument = `"arguments":{${STATE}}`;
  assert.equal(resumed(messageOf(`{${argument}}`)), undefined);
  assert.equal(resumed(messageOf(`{${argument},${STATE}}`)), messageOf(`{${argument}}`));
});

test('takes all spellings of its fields out of the object that the parser took', () => {
  const call = messageOf(`{"name":"list","request\\u0053tate":"other",${STATE},"inputResponses":1,"inputResponses":2}`);
  assert.equal(resumed(call), messageOf('{"name":"list"}'));
  const twice = call.replace('"params"', '"params":{"name":"delete"},"params"');
  assert.equal(resumed(twice), messageOf('{"name":"delete"},"params":{"name":"list"}'));
});

test('says that consent is required where the user declined', () => {
  for (const action of ['decline', 'cancel']) {
    const responses = JSON.stringify({ [CONSENT_INPUT]: { action } });
    const declined = messageOf(`{"name":"list",${STATE},"inputResponses":${responses}}`);
    assert.throws(() => resumed(declined), { code: 'ERR_CONSENT_REQUIRED', responseId: { id: 7 } });
  }
});

test('never leaves a state of cambist in what it sends on, whatever the body is', () => {
  const piece = fc.oneof(
    fc.constantFrom('"name":"list"', STATE, '"inputResponses":{}', '"params":{', '}', '{', ','),
    fc.json(),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = messageOf(`{${pieces.join(',')}}`);
      try {
        const sent = resumed(text);
        if (sent !== undefined) assert.equal(JSON.parse(sent).params.requestState, undefined);
      } catch (error) {
        assert.ok(error instanceof CambistError, String(error));
      }
    }),
  );
});
