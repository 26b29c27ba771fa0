import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { readProcessing } from '../../src/decisions/process-messages.ts';
import { bytesOf, type Fields, readFields, textOf, writeNumber } from '../../src/protobuf.ts';
import { headersMessage, KINDS, startCheckClient } from '../harness/check-client.ts';
import { eventually } from '../harness/eventually.ts';
import { AS_DATA_PLANE, startDecisionGateway } from '../harness/gateway.ts';
import { message } from '../harness/spiffe-agent.ts';

const PROCESS = '/envoy.service.ext_proc.v3.ExternalProcessor/Process';
const BUFFERED = 2;

const bodyMessage = (body: string) => message([KINDS.request_body, message([1, body])]);
const responseMessage = (code: string) => headersMessage('response_headers', { headers: { ':status': code } });

async function start(t: TestContext, options: Parameters<typeof startDecisionGateway>[2] = {}) {
  const gateway = await startDecisionGateway(t, 'grpc', options);
  const client = startCheckClient(t, gateway.app.decisionsByGrpc ?? '');
  const usual = { ...AS_DATA_PLANE, 'x-cambist-route': 'github' };
  const open = (metadata: Record<string, string> = usual) => {
    const { call, responses, ended } = client.open(PROCESS, metadata);
    let code: number | undefined;
    void ended.then((known) => {
      code = known;
    });
    return {
      call,
      ended,
      /** @returns the fields of the response, or the status that ends the call */
      async ask(sent: Buffer) {
        const before = responses.length;
        call.write(sent);
        await eventually('a response', () => responses.length > before || code !== undefined);
        return responses.length > before ? { fields: readFields(responses.at(-1) as Buffer) } : { code };
      },
    };
  };
  const headers = {
    ':method': 'POST',
    ':path': '/github/x',
    ':authority': 'mcp.example.com',
    ':scheme': 'https',
    authorization: gateway.authorization,
  };
  /** The headers of the usual request. */
  const asked = headersMessage('request_headers', { headers });
  return { ...gateway, open, usual, headers, asked };
}

type Asked = Awaited<ReturnType<ReturnType<Awaited<ReturnType<typeof start>>['open']>['ask']>>;

/** The headers that a response sets and removes. */
function mutationIn({ fields }: Asked, kind: 'request_headers' | 'request_body') {
  assert.ok(fields?.has(KINDS[kind] - 1), 'the request passes');
  const mutation = readFields(
    bytesOf(readFields(bytesOf(readFields(bytesOf(fields as Fields, KINDS[kind] - 1)), 1)), 2),
  );
  const set = (mutation.get(1) ?? []).map((option) => readFields(bytesOf(readFields(option), 1)));
  return {
    set: Object.fromEntries(set.map((header) => [textOf(header, 1), textOf(header, 3)])),
    removed: (mutation.get(2) ?? []).map(String),
  };
}

/** The body of the response by which the data plane responds itself. */
function immediateIn({ fields }: Asked): string {
  assert.ok(fields?.has(7), 'the request is refused');
  return bytesOf(readFields(bytesOf(fields as Fields, 7)), 3).toString();
}

test('decides about headers, and about a body that follows them', async (t) => {
  const { open, headers, asked, authorizationServer, app } = await start(t);
  const first = open();
  const { set, removed } = mutationIn(await first.ask(asked), 'request_headers');
  assert.equal(set.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
  assert.ok(removed.includes('dpop') && !removed.includes('authorization'));
  assert.ok((await first.ask(responseMessage('200'))).fields?.has(KINDS.response_headers - 1));
  assert.equal(await first.ended, status.OK);

  const second = open();
  const waiting = await second.ask(headersMessage('request_headers', { headers, isWhole: false, bodyMode: BUFFERED }));
  assert.equal(bytesOf(waiting.fields ?? new Map(), KINDS.request_headers - 1).length, 0);
  assert.equal(mutationIn(await second.ask(bodyMessage('x')), 'request_body').set.authorization, set.authorization);
  assert.equal(authorizationServer.requests.length, 1);
  const counted = /^cambist_decisions_total\{protocol="ext_proc",result="allowed"\} 2$/m;
  await eventually('both are counted', async () => counted.test(await app.metrics()));
  assert.match(await app.metrics(), /^cambist_decisions_total\{protocol="grpc",result="allowed"\} 0$/m);
});

test('refuses a data plane that would not wait for the decision or the body, and says why in the log', async (t) => {
  const { open, headers, asked, app, usual } = await start(t);
  for (const [sent, reason, metadata] of [
    [headersMessage('request_headers', { headers, bodyMode: undefined }), /protocol_config/],
    ...[1, 3, 4, 5].map(
      (bodyMode) => [headersMessage('request_headers', { headers, bodyMode }), /request_body_mode/] as const,
    ),
    [bodyMessage('x'), /request_header_mode/],
    [message([KINDS.request_trailers, '']), /request_header_mode/],
    [message([99, '']), /request_header_mode/],
    [Buffer.concat([asked, bodyMessage('x')]), /request_header_mode/],
    [asked, /x-cambist-route is missing/, { ...usual, 'x-cambist-route': 'A B' }],
    [
      headersMessage('request_headers', { headers: { ...headers, 'x-cambist-route': 'github', ':path': 'x' } }),
      /path is invalid/,
    ],
  ] as const) {
    assert.match(immediateIn(await open(metadata).ask(sent)), /ERR_ROUTE_NOT_FOUND/);
    await eventually(String(reason), () => reason.test(app.logText()));
  }
  const observed = open();
  assert.deepEqual(await observed.ask(headersMessage('request_headers', { headers, more: writeNumber(10, 1) })), {
    code: status.FAILED_PRECONDITION,
  });
  await eventually('the log line', () => app.logText().includes('observability_mode'));
});

test('a call never ends with OK before its decision', async (t) => {
  const { open, headers } = await start(t);
  const buffered = headersMessage('request_headers', { headers, isWhole: false, bodyMode: BUFFERED });
  for (const sent of [[], [buffered]]) {
    const { call, ask, ended } = open();
    for (const each of sent) await ask(each);
    call.end();
    assert.notEqual(await ended, status.OK);
  }
  for (const [then, code] of [
    [buffered, status.FAILED_PRECONDITION],
    [message([KINDS.request_trailers, '']), status.FAILED_PRECONDITION],
    [Buffer.from('malformed'), status.INVALID_ARGUMENT],
  ] as const) {
    const { ask } = open();
    await ask(buffered);
    assert.deepEqual(await ask(then), { code });
  }
  // A header that is not one.
  const broken = message([KINDS.request_headers, message([1, message([1, 'x'])])], [11, writeNumber(1, 0)]);
  assert.deepEqual(await open().ask(broken), { code: status.INVALID_ARGUMENT });
  // Envoy responds itself, where the body is too large for it.
  const large = open();
  await large.ask(buffered);
  assert.ok((await large.ask(responseMessage('413'))).fields?.has(KINDS.response_headers - 1));
});

test('after its decision, a call takes nothing but the response', async (t) => {
  const { open, asked } = await start(t);
  for (const then of [bodyMessage('x'), message([KINDS.request_trailers, '']), asked]) {
    const { ask } = open();
    mutationIn(await ask(asked), 'request_headers');
    assert.deepEqual(await ask(then), { code: status.FAILED_PRECONDITION });
  }
  const { call, ask, ended } = open();
  await ask(asked);
  call.end();
  assert.equal(await ended, status.OK);
});

/** Metadata of Envoy with the name of a decision. */
const named = (id: string) =>
  message([
    8,
    message([1, message([1, 'cambist'], [2, message([1, message([1, 'decision'], [2, message([3, id])])])])]),
  ]);

/** The filters of the listener and the cluster, after the first attempt to send a request. */
async function startAttempts({ open, usual, headers, asked: request }: Awaited<ReturnType<typeof start>>) {
  const listener = open();
  const decided = await listener.ask(request);
  const [id = ''] = /[\w-]{36}$/.exec(bytesOf(decided.fields ?? new Map(), 8).toString()) ?? [];
  const attempt = async (status?: string) => {
    const { ask } = open({ ...usual, 'x-cambist-filter': 'upstream' });
    const asked = await ask(headersMessage('request_headers', { headers, more: named(id) }));
    if (status !== undefined) await ask(responseMessage(status));
    return asked;
  };
  return { listener, attempt };
}

test('a retry that gets no new token has the error of the exchange', async (t) => {
  const setup = await start(t);
  const { authorizationServer } = setup;
  const { listener, attempt } = await startAttempts(setup);
  await attempt('401');
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  assert.match(immediateIn(await attempt()), /ERR_SUBJECT_TOKEN_INVALID/);
  // The filter of the listener sees that response as well.
  const seen = await listener.ask(responseMessage('401'));
  assert.ok(seen.fields?.has(KINDS.response_headers - 1));
  assert.equal(authorizationServer.requests.length, 2);
});

test('a backend that refuses each token is logged with the reason', async (t) => {
  const setup = await start(t);
  const { listener, attempt } = await startAttempts(setup);
  await attempt('401');
  assert.ok(mutationIn(await attempt('401'), 'request_headers').set.authorization);
  assert.match(immediateIn(await listener.ask(responseMessage('401'))), /ERR_UPSTREAM_REFUSED_TOKEN/);
  const line = setup.app.logs.find(({ msg }) => msg === 'the backend refused a token');
  assert.match(JSON.stringify(line?.err), /"ERR_UPSTREAM_REFUSED_TOKEN".*refused/);
});

test('an attempt without a decision is refused, whatever metadata it has', async (t) => {
  const { open, headers, asked, usual, app } = await start(t);
  const upstream = { ...usual, 'x-cambist-filter': 'upstream' };
  for (const more of [Buffer.alloc(0), named(''), named('guessed'), named('__proto__')]) {
    const refused = await open(upstream).ask(headersMessage('request_headers', { headers, more }));
    assert.deepEqual(refused, { code: status.FAILED_PRECONDITION });
  }
  assert.match(app.logText(), /refused a call of ext_proc/);
  const withoutSecret = open({ 'x-cambist-route': 'github' });
  assert.deepEqual(await withoutSecret.ask(asked), { code: status.PERMISSION_DENIED });
});

test('a route by message without the body of the message is refused', async (t) => {
  const match = { path: '/tools', mcp_method: 'tools/call', mcp_name: 'read' };
  const { open, headers } = await start(t, {
    decisions: { routes_by: 'match' },
    moreRoutes: [{ name: 'reads', match, upstream: 'http://127.0.0.1:1/mcp', scope: 'read' }],
  });
  const mcp = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'read' };
  const tool = { ...headers, ':path': '/tools', 'content-type': 'application/json', ...mcp };
  immediateIn(await open().ask(headersMessage('request_headers', { headers: tool, isWhole: false })));
  const buffered = open();
  await buffered.ask(headersMessage('request_headers', { headers: tool, isWhole: false, bodyMode: BUFFERED }));
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'read' } });
  assert.ok(mutationIn(await buffered.ask(bodyMessage(body)), 'request_body').set.authorization);
});

test('requests in flight at the data plane outlive a shutdown', async (t) => {
  const { open, asked, app } = await start(t);
  const { ask, ended } = open();
  mutationIn(await ask(asked), 'request_headers');
  await app.stop();
  assert.equal(await ended, status.OK);
});

test('a message in any bytes is read, or malformed', () => {
  const whole = headersMessage('request_headers', { headers: { ':path': '/x' }, bodyMode: BUFFERED, isWhole: false });
  const { kind, headers, bodyMode, isWhole, isObserved } = readProcessing(whole);
  assert.deepEqual(
    [kind, headers.length, bodyMode, isWhole, isObserved],
    ['request_headers', 1, BUFFERED, false, false],
  );
  const readOrMalformed = (bytes: Buffer): void => {
    try {
      readProcessing(bytes);
    } catch (error) {
      assert.ok(error instanceof RangeError);
    }
  };
  for (let length = 0; length < whole.length; length++) readOrMalformed(whole.subarray(0, length));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => readOrMalformed(Buffer.from(bytes))));
});
