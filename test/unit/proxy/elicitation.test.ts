import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Route } from '../../../src/config/route.ts';
import { CambistError } from '../../../src/errors.ts';
import { withoutConsentState } from '../../../src/proxy/consent-retry.ts';
import { CONSENT_INPUT, elicitationOf } from '../../../src/proxy/elicitation.ts';
import { wholeBody } from '../../../src/proxy/request-body.ts';
import type { RequestRecord } from '../../../src/proxy/request-record.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { MAX_NESTED_BYTES } from '../../../src/routing/request-state.ts';
import type { Session } from '../../../src/tokens/session.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { CONSENT_URL, legacyCall, modernCall } from '../../harness/consent.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const options = { clock: createFakeClock(), stateKeys: () => [Buffer.alloc(32, 1)] };
const session = { subject: toSubject('opaque-token-of-alice') } as Session;
const credential = { kind: 'exchange', target: { resource: ['https://mcp.example.com:8443/mcp'] } };
const upstream = { host: 'mcp.tools.svc:8080' };
const routed = { route: { name: 'github', match: {}, credential, upstream } } as unknown as Routed;
const ERROR = new CambistError('ERR_CONSENT_REQUIRED', 'consent', { consentUrl: () => CONSENT_URL });

interface Call {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The response in the client's own protocol, with its body parsed. */
function elicited({ headers, body }: Call, more: Partial<RequestRecord> = {}, error = ERROR) {
  const record = {
    id: 'r-1',
    incoming: { method: 'POST', rawHeaders: Object.entries(headers).flat() },
    route: routed.route,
    session,
    body: wholeBody(Buffer.from(body)),
    ...more,
  } as RequestRecord;
  const response = elicitationOf(error, record, options);
  return response && { ...response, body: JSON.parse(response.body) };
}

const INITIALIZE = {
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: { elicitation: { url: {} } } },
};

test('asks a modern client to open the URL by an input-required result', () => {
  const response = elicited(modernCall({ id: 'a-1' }));
  assert.equal(response?.status, 200);
  assert.equal(response.headers['cache-control'], 'no-store');
  const { id, result } = response.body;
  assert.equal(id, 'a-1');
  assert.equal(result.resultType, 'input_required');
  const { method, params } = result.inputRequests[CONSENT_INPUT];
  assert.deepEqual([method, params.mode, params.url], ['elicitation/create', 'url', CONSENT_URL]);
  assert.equal(params.message, 'Your consent is needed before mcp.example.com:8443 can be used.');
  for (const resource of [[], ['urn:test:github']]) {
    const route = { ...routed.route, credential: { ...credential, target: { resource } } } as unknown as Route;
    assert.match(
      elicited(modernCall(), { route })?.body.result.inputRequests[CONSENT_INPUT].params.message,
      / mcp\.tools\.svc:8080 /,
    );
  }
});

test('asks a client of 2025-11-25 by an error', () => {
  const response = elicited(legacyCall({ id: 3 }));
  assert.equal(response?.status, 200);
  const { id, error } = response.body;
  assert.deepEqual([id, error.code, error.data.code], [3, -32042, 'ERR_CONSENT_REQUIRED']);
  assert.equal(error.data.elicitations[0].url, CONSENT_URL);
  assert.equal(elicited(legacyCall(INITIALIZE))?.body.error.code, -32042);
});

test('asks nothing of a client that did not declare that it opens URLs', () => {
  const undeclared: unknown[] = [null, 7, [], {}, { elicitation: {} }, { elicitation: { url: null } }];
  for (const capabilities of [...undeclared, { elicitation: { url: true } }, { elicitation: { form: {} } }]) {
    assert.equal(elicited(modernCall({ capabilities: capabilities as object })), undefined);
    const initialize = legacyCall({ ...INITIALIZE, params: { ...INITIALIZE.params, capabilities } });
    assert.equal(elicited(initialize), undefined);
  }
});

test('asks nothing for a method that may not get such a result, or a version that knows none', () => {
  for (const method of ['tools/list', 'notifications/progress', 'initialize', 'server/discover']) {
    assert.equal(elicited(modernCall({ method })), undefined, method);
  }
  const call = modernCall();
  for (const version of ['', '2025-06-18', '2026-07-27', '9', 'DRAFT-2026-v1', '2026-07-28, 2026-07-28']) {
    assert.equal(elicited({ ...call, headers: { ...call.headers, 'mcp-protocol-version': version } }), undefined);
  }
});

test('asks nothing where the response cannot be matched, or the error is of another kind', () => {
  const call = modernCall();
  const message = JSON.parse(call.body);
  for (const body of ['', '{', '[]', JSON.stringify([message]), JSON.stringify({ ...message, id: undefined })]) {
    assert.equal(elicited({ ...call, body }), undefined, body);
  }
  assert.equal(elicited(call, { body: undefined }), undefined);
  assert.equal(elicited(call, { route: undefined }), undefined);
  assert.equal(elicited(call, { session: undefined }), undefined);
  assert.equal(elicited(call, {}, new CambistError('ERR_CONSENT_REQUIRED', 'no URL')), undefined);
});

test("keeps the backend's own fields for the retry, unless they are too large", () => {
  const fields = { requestState: 'of the backend', inputResponses: { own: 1 } };
  assert.ok(elicited(modernCall({ params: { name: 'list', ...fields } })) !== undefined);
  const large = { name: 'list', requestState: 'x'.repeat(MAX_NESTED_BYTES) };
  assert.equal(elicited(modernCall({ params: large })), undefined);
});

test('recognizes the retry of any call, and restores it', () => {
  const fields = fc.dictionary(
    fc.string().filter((key) => !['_meta', '__proto__'].includes(key)),
    fc.jsonValue(),
    { maxKeys: 5 },
  );
  const own = fc.record({ requestState: fc.string(), inputResponses: fc.jsonValue() }, { requiredKeys: [] });
  fc.assert(
    fc.property(fields, own, (some, nested) => {
      const call = modernCall({ params: { ...some, ...nested } });
      const result = elicited(call)?.body.result;
      assert.equal(typeof result.requestState, 'string');
      assert.ok(!JSON.stringify(result).includes(session.subject?.token.reveal() ?? ''));
      const message = JSON.parse(call.body);
      const { requestState } = result;
      const retry = { ...message, params: { ...message.params, requestState, inputResponses: {} } };
      const body = wholeBody(Buffer.from(JSON.stringify(retry)));
      const sent = withoutConsentState(routed, session, body, options)?.replay()?.toString();
      assert.deepEqual(JSON.parse(String(sent)), message);
    }),
  );
});

test('never throws, whatever the body and the version are', () => {
  const call = modernCall();
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), fc.string(), (body, version) => {
      const headers = { ...call.headers, 'mcp-protocol-version': version };
      elicited({ headers, body });
      elicited({ headers, body: call.body.replace('"list"', JSON.stringify(body)) });
    }),
  );
});
