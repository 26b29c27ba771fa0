import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Route } from '../../../src/config/route.ts';
import { CambistError } from '../../../src/errors.ts';
import { CONSENT_INPUT } from '../../../src/proxy/consent.ts';
import { elicitationOf } from '../../../src/proxy/elicitation.ts';
import { followUpOf } from '../../../src/proxy/follow-up.ts';
import { idForError, isMcpPost, responseIdOf } from '../../../src/proxy/mcp-error.ts';
import { errorResponse } from '../../../src/proxy/own-response.ts';
import { wholeBody } from '../../../src/proxy/request-body.ts';
import type { RequestRecord } from '../../../src/proxy/request-record.ts';
import type { AttemptPlan, Routed } from '../../../src/proxy/steps.ts';
import type { Session } from '../../../src/tokens/session.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { CONSENT_URL, legacyCall, modernCall } from '../../harness/consent.ts';

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
  const response = elicitationOf(error, record);
  return response && { ...response, body: JSON.parse(response.body) };
}

const INITIALIZE = {
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: { elicitation: { url: {} } } },
};

test('names the resource of the route in its message, and else the host of the upstream', () => {
  const messageFor = (more: Partial<RequestRecord> = {}) =>
    elicited(modernCall(), more)?.body.result.inputRequests[CONSENT_INPUT].params.message;
  assert.equal(messageFor(), 'Your consent is needed before mcp.example.com:8443 can be used.');
  for (const resource of [[], ['urn:test:github']]) {
    const route = { ...routed.route, credential: { ...credential, target: { resource } } } as unknown as Route;
    assert.match(messageFor({ route }), / mcp\.tools\.svc:8080 /);
  }
});

test('asks nothing of a client that did not declare that it opens URLs', () => {
  const without = [{}, { url: null }, { url: true }, { form: {} }].map((elicitation) => ({ elicitation }));
  for (const capabilities of [null, 7, [], {}, ...without]) {
    assert.equal(elicited(modernCall({ capabilities: capabilities as object })), undefined);
    const initialize = legacyCall({ ...INITIALIZE, params: { ...INITIALIZE.params, capabilities } });
    assert.equal(elicited(initialize), undefined);
  }
});

test('asks nothing in place of initialize, unless it declares the capability in a version that has such an error', () => {
  const initialize = (protocolVersion: string) => {
    const { headers, body } = legacyCall({ ...INITIALIZE, params: { ...INITIALIZE.params, protocolVersion } });
    const { 'mcp-protocol-version': _none, ...unversioned } = headers;
    return elicited({ headers: unversioned, body });
  };
  assert.equal(initialize('2025-11-25')?.body.error.code, -32042);
  assert.equal(initialize('2025-06-18'), undefined);
});

test('asks nothing for a method that may not get such a result, or a version that knows none', () => {
  for (const method of ['tools/list', 'notifications/progress', 'initialize', 'server/discover']) {
    assert.equal(elicited(modernCall({ method })), undefined, method);
  }
  const inVersion = ({ headers, body }: Call, version: string) =>
    elicited({ headers: { ...headers, 'mcp-protocol-version': version }, body });
  assert.equal(inVersion(legacyCall(), '2025-06-18'), undefined);
  for (const version of ['', '2025-06-18', '2026-07-27', '9', 'DRAFT-2026-v1', '2026-07-28, 2026-07-28']) {
    assert.equal(inVersion(modernCall(), version), undefined);
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
  assert.equal(elicited(call, {}, new CambistError('ERR_CONSENT_REQUIRED', 'no URL')), undefined);
});

test('does not parse a body that is too large for a response with its id', (t) => {
  const call = modernCall({ params: { name: 'list', arguments: { text: 'x'.repeat(64 * 1024) } } });
  const { mock } = t.mock.method(JSON, 'parse');
  assert.equal(elicited(call), undefined);
  assert.equal(mock.callCount(), 0);
});

test("asks nothing in place of a retry of the backend's own, whose fields would be lost", () => {
  for (const fields of [{ requestState: 'of the backend' }, { inputResponses: { own: 1 } }]) {
    assert.equal(elicited(modernCall({ params: { name: 'list', ...fields } })), undefined);
  }
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

const BODY = Buffer.from('{}');
const SCOPES = ['www-authenticate', 'Bearer error="insufficient_scope", scope="repo"'];
const NONCE = ['www-authenticate', 'DPoP error="use_dpop_nonce"'];
const SIGN_IN = ['www-authenticate', 'Bearer error="insufficient_user_authentication", max_age="5"'];

/** The default has a token that is made from the caller's own. */
const ATTEMPT = {
  credential: 'exchange',
  mayStepUp: true,
  isTooLarge: false,
  hasSecondToken: false,
  hasNonce: false,
  hasFreshNonce: false,
};

interface Case extends Partial<typeof ATTEMPT> {
  readonly status: number;
  readonly headers?: string[];
}

function followUp({ status, headers = [], ...of }: Case) {
  const { credential, mayStepUp, isTooLarge, hasSecondToken, hasNonce, hasFreshNonce } = { ...ATTEMPT, ...of };
  const plan = {
    prepared: {
      route: { credential: { kind: credential }, subjectToken: {}, stepUp: mayStepUp ? ['repo'] : [] },
      session: { subject: {} },
      body: { replay: () => (isTooLarge ? undefined : BODY) },
    },
    token: credential === 'none' ? undefined : {},
    hasSecondToken,
    hasNonce,
  } as unknown as AttemptPlan;
  const next: Record<string, unknown> = { ...followUpOf(plan, status, headers, hasFreshNonce) };
  delete next.token;
  return next;
}

const relay = { kind: 'relay' };
const newToken = { kind: 'retry_with_new_token' };
const newSecret = { kind: 'retry_with_new_secret' };
const nonce = { kind: 'retry_with_nonce', content: BODY };
const stepUp = { kind: 'step_up', scopes: ['repo'], content: BODY };
const signIn = { kind: 'sign_in', authentication: { maxAge: 5 } };
const fail = (ending: string) => ({ kind: 'fail', ending });
const atMostTwo = fail('and a request gets at most two');
const lackedNonce = { status: 401, headers: NONCE, hasFreshNonce: true };

const CASES: readonly [name: string, response: Case, next: object][] = [
  ['relays a success', { status: 200 }, relay],
  ['relays a 401 where it sent no token', { status: 401, credential: 'none' }, relay],
  ['gets a new token after a 401', { status: 401 }, newToken],
  ['gets a new token even where the request cannot be repeated', { status: 401, isTooLarge: true }, newToken],
  ['reads a refused secret again', { status: 401, credential: 'secret' }, newSecret],
  ['fails after two tokens were refused', { status: 401, hasSecondToken: true }, atMostTwo],
  ['fails after two secrets were refused', { status: 401, hasSecondToken: true, credential: 'secret' }, atMostTwo],
  ['repeats a proof that lacked a nonce', lackedNonce, nonce],
  ['repeats the proof for a new token as well', { ...lackedNonce, hasSecondToken: true }, nonce],
  ['asks for a new token where a challenge has no usable nonce', { status: 401, headers: NONCE }, newToken],
  ['ignores a nonce that no challenge asks for', { status: 401, hasFreshNonce: true }, newToken],
  ['asks for a new token after a second nonce', { ...lackedNonce, hasNonce: true }, newToken],
  [
    'fails where a request for a nonce cannot be repeated',
    { ...lackedNonce, isTooLarge: true },
    fail('because its proof lacked a nonce, and the request cannot be sent again'),
  ],
  ['passes on a wish for another sign-in', { status: 401, headers: SIGN_IN }, signIn],
  ['passes it on after a new token too', { status: 401, headers: SIGN_IN, hasSecondToken: true }, signIn],
  [
    'does not ask a caller to sign in again for a token that is not made from its own',
    { status: 401, headers: SIGN_IN, credential: 'client_credentials' },
    newToken,
  ],
  ['steps up after a 403 that asks for scopes', { status: 403, headers: SCOPES }, stepUp],
  ['relays a 403 that asks for none', { status: 403 }, relay],
  ['relays a 403 on a route without step-up', { status: 403, headers: SCOPES, mayStepUp: false }, relay],
  ['relays a 403 to a new token', { status: 403, headers: SCOPES, hasSecondToken: true }, relay],
  ['relays a 403 where the request cannot be repeated', { status: 403, headers: SCOPES, isTooLarge: true }, relay],
];

for (const [name, response, next] of CASES) {
  test(name, () => {
    assert.deepEqual(followUp(response), next);
  });
}

const request = (headers: Readonly<Record<string, string>>, method = 'POST') =>
  ({ method, rawHeaders: Object.entries(headers).flat() }) as unknown as IncomingMessage;
const json = { 'Content-Type': 'application/json' };

test('recognizes an MCP POST by its headers or its route', () => {
  const bothTypes = 'application/json, text/event-stream';
  const mcp = { 'Mcp-Session-Id': 's', Accept: bothTypes };
  for (const [isMcp, headers, conditions, method] of [
    [true, { ...json, Accept: bothTypes }],
    [true, { ...json, 'Mcp-Session-Id': 's' }],
    [true, { ...json, 'MCP-Protocol-Version': '2025-11-25' }],
    [true, json, { mcpMethods: ['tools/call'] }],
    [true, json, { mcpNames: ['delete_*'] }],
    [true, { 'content-type': 'Application/JSON ; charset=utf-8', 'mcp-method': 'ping' }],
    [false, { ...json, ...mcp }, undefined, 'GET'],
    [false, mcp],
    [false, json],
    [false, { ...mcp, 'Content-Type': 'application/json-patch+json' }],
    [false, { ...json, Accept: 'application/json' }, { methods: ['POST'] }],
    [false, { ...json, Accept: '*/*' }],
  ] as const) {
    const route = { match: { conditions } } as unknown as Route;
    assert.equal(isMcpPost(request(headers, method), conditions && route), isMcp, JSON.stringify(headers));
  }
});

test('keeps status and headers, and puts the problem into data', () => {
  const of = [new CambistError('ERR_SUBJECT_TOKEN_MISSING', 'x'), 'r-1', { resourceMetadata: 'http://a/b' }] as const;
  const problem = errorResponse(...of);
  const { status, headers, body } = errorResponse(...of, { id: 7 });
  assert.equal(status, 401);
  assert.deepEqual(headers, { ...problem.headers, 'content-type': 'application/json' });
  const data = JSON.parse(problem.body);
  const message = `ERR_SUBJECT_TOKEN_MISSING: ${data.detail}`;
  assert.deepEqual(JSON.parse(body), { jsonrpc: '2.0', id: 7, error: { code: -32010, message, data } });
});

test('takes the id of a request, and none of a notification or a response', () => {
  for (const [message, id] of [
    ['"id":1,"method":"tools/list"', { id: 1 }],
    ['"id":"a-1","method":"tools/list"', { id: 'a-1' }],
    ['"method":"notifications/initialized"', {}],
    ['"id":1,"result":{}', {}],
    ['"id":1,"error":{"code":1,"message":""}', {}],
  ] as const) {
    assert.deepEqual(responseIdOf(Buffer.from(`{"jsonrpc":"2.0",${message}}`)), id);
  }
});

test('returns a null id for a batch, and for everything that cannot be read', () => {
  const call = { jsonrpc: '2.0', id: 1, method: 'tools/call' };
  const unusual = [1.5, 2 ** 60, 'x'.repeat(257), null, {}, true].map((id) => JSON.stringify({ ...call, id }));
  const long = JSON.stringify({ ...call, params: 'x'.repeat(64 * 1024) });
  for (const body of [...unusual, JSON.stringify([call]), long, '', '{', '7', '"x"', 'null', '{}']) {
    assert.deepEqual(responseIdOf(Buffer.from(body)), { id: null }, body.slice(0, 80));
  }
});

/** A request whose body has not arrived. */
function incoming(): IncomingMessage & PassThrough {
  const body = Object.assign(new PassThrough(), { headers: {}, rawHeaders: [], complete: false });
  return body as unknown as IncomingMessage & PassThrough;
}

test('reads a limited number of bodies for their id at the same time', async () => {
  const unrouted = new CambistError('ERR_ROUTE_NOT_FOUND', 'x');
  const waiting = Array.from({ length: 64 }, incoming);
  const ids = waiting.map((request) => idForError(unrouted, request, undefined));
  const oneMore = incoming();
  assert.deepEqual(await idForError(unrouted, oneMore, undefined), { id: null });
  assert.equal(oneMore.listenerCount('data'), 0);
  for (const [id, request] of waiting.entries()) request.end(JSON.stringify({ id, method: 'tools/list' }));
  for (const [id, read] of ids.entries()) assert.deepEqual(await read, { id });
  const later = idForError(unrouted, oneMore, undefined);
  oneMore.end('{"id":7,"method":"ping"}');
  assert.deepEqual(await later, { id: 7 });
});
