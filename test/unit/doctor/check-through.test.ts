import assert from 'node:assert/strict';
import { type IncomingMessage, request as send } from 'node:http';
import { type TestContext, test } from 'node:test';
import { throughOptions } from '../../../src/commands/doctor-through.ts';
import { checkThrough, type ThroughOptions } from '../../../src/doctor/check-through.ts';
import { configOf } from '../../harness/app.ts';
import { freePort, startHttpServer } from '../../harness/http-server.ts';

const SERVER = { token_endpoint: 'https://idp/token', client_id: 'c', client_auth: { method: 'none' } };
const CALLERS = ['caller-one-token', 'caller-two-token'];

interface Plane {
  /** The issued token. A number is the status of a refusal. */
  readonly decide?: (request: IncomingMessage, token: string | undefined) => string | number | undefined;
  /** Changes the request for the backend. */
  readonly change?: (to: { path: string; headers: string[] }, request: IncomingMessage) => unknown;
}

/** cambist and a good data plane: only the two callers get a token. */
function decide({ rawHeaders, method, url = '' }: IncomingMessage, token: string | undefined): string | number {
  const lines = rawHeaders.filter((name) => name.toLowerCase() === 'authorization').length;
  if (!url.startsWith('/github')) return 404;
  return lines === 1 && CALLERS.includes(token ?? '') && method === 'GET' ? `issued-to-${token?.slice(0, 10)}` : 401;
}

const AGENT_TOKEN = 'the-token-of-an-agent';

/** Runs the doctor through a data plane. @returns problems as `code: what`, and the proof */
async function run(
  t: TestContext,
  plane: Plane = {},
  more: Partial<Omit<ThroughOptions, 'route'>> & { route?: object; decisions?: object } = {},
) {
  const port = await freePort();
  const { route = {}, decisions = {}, ...options } = more;
  const config = configOf({
    authorization_servers: { main: SERVER },
    decisions: { http: { listen: 'unix:/run/cambist/decisions.sock' }, ...decisions },
    routes: [
      { name: 'github', match: { path: '/github' }, upstream: 'https://github.example.com/mcp', ...route },
      { name: 'docs', match: { path: '/docs' }, upstream: 'https://docs.example.com/mcp' },
    ],
  });
  const { url, close } = await startHttpServer((request, response) => {
    const token = /^Bearer (.*)/.exec(request.headers.authorization ?? '')?.[1];
    const decision = plane.decide === undefined ? decide(request, token) : plane.decide(request, token);
    if (typeof decision === 'number') return void response.writeHead(decision).end();
    const withheld = ['authorization', 'dpop', 'x-agent-token', 'x-copy'];
    const headers = request.rawHeaders.flatMap((name, at, all) =>
      at % 2 === 0 && !withheld.includes(name.toLowerCase()) ? [name, all[at + 1] ?? ''] : [],
    );
    const to = {
      path: request.url ?? '',
      headers: [...headers, ...(decision === undefined ? [] : ['Authorization', `Bearer ${decision}`])],
    };
    plane.change?.(to, request);
    const sent = send({ port, method: request.method, ...to }, (received) => received.pipe(response));
    sent.once('error', () => response.writeHead(502).end()).end();
  });
  t.after(close);
  const [first] = config.routes;
  assert.ok(first);
  const findings = await checkThrough({
    config,
    route: first,
    url: new URL(url),
    echo: { kind: 'tcp', host: '127.0.0.1', port },
    tokens: CALLERS,
    agentToken: undefined,
    isStopped: false,
    ...options,
  });
  for (const secret of [...CALLERS, AGENT_TOKEN, 'issued-to-']) assert.ok(!JSON.stringify(findings).includes(secret));
  return findings.map(({ code, what }) => `${code}: ${what}`).join('\n');
}

test('proves what a good data plane does', async (t) => {
  assert.match(
    await run(t),
    /^through_proved: of \d+ requests, \d+ pass, with the token issued to their caller and no other/,
  );
});

const asOf = (index: number) => `issued-to-${CALLERS[index]?.slice(0, 10)}`;

/** A data plane that decides as a good one, except for some requests. */
const except = (
  isMistaken: (request: IncomingMessage, token: string | undefined) => unknown,
  decision: string | number | undefined,
): Plane => ({
  decide: (request, token) => (isMistaken(request, token) ? decision : decide(request, token)),
});
const isPreflight = ({ headers }: IncomingMessage) => headers.origin !== undefined;
const asksForDocs = ({ headers }: IncomingMessage) => headers['x-route'] === 'docs';

const MISTAKES: Record<string, [plane: Plane, found: RegExp, more?: Parameters<typeof run>[2]]> = {
  'a token in the query': [
    { change: (to) => Object.assign(to, { path: `${to.path}&was=${CALLERS[0]}` }) },
    /^caller_token_forwarded: .*: a request of caller 1 \(the URL\)/,
  ],
  'a made-up token in another header': [
    { change: ({ headers }, { headers: { dpop } }) => void (dpop !== undefined && headers.push('DPoP', String(dpop))) },
    /^caller_token_forwarded: .*: a request of caller 1 \(dpop\)/,
  ],
  "the agent's token": [
    { change: ({ headers }, { headers: { 'x-agent-token': token } }) => void headers.push('x-a', String(token)) },
    /^caller_token_forwarded: /,
    { agentToken: AGENT_TOKEN },
  ],
  'no issued token': [
    { change: ({ headers }) => void headers.splice(headers.indexOf('Authorization'), 2) },
    /^issued_token_missing: .*: a request of caller 1; a request of caller 2/,
  ],
  'one token for all callers': [
    except((request, token) => typeof decide(request, token) !== 'number', 'issued-to-all'),
    /^issued_token_shared: .*: a request of caller 2 has the token of caller 1$/,
  ],
  'tokens of each other in pipelined requests': [
    except(({ headers }, token) => token === CALLERS[1] && headers.connection === undefined, asOf(0)),
    /^issued_token_shared: /,
  ],
  'two tokens': [
    except((_, token) => token?.includes(CALLERS[0] ?? ''), asOf(0)),
    /^duplicate_token_passed: .*: a token twice; two tokens; two tokens in one line$/,
  ],
  'a method without a check': [
    except(({ method }) => method === 'PUT', undefined),
    /^undecided_request_passed: .*: PUT without a token$/,
  ],
  'a path in upper case without a check': [
    except(({ url }) => url?.startsWith('/GITHUB'), asOf(0)),
    /undecided_request_passed: .*: GET \/GITHUB without a token$/m,
  ],
  'a mark that is dropped': [
    { ...except(({ method }) => method === 'POST', undefined), change: (to) => Object.assign(to, { path: '/mcp' }) },
    /^undecided_request_passed: .*: POST without a token$/,
  ],
  'a preflight with a token': [
    except(isPreflight, asOf(0)),
    /^issued_token_shared: .*: a preflight has the token of caller 1$/,
    { decisions: { preflights: 'allow' } },
  ],
  'a preflight where it is refused': [except(isPreflight, undefined), /^undecided_request_passed: .*: a preflight$/],
  'a content cache': [
    except(({ url }, token) => token === undefined && url?.startsWith('/github?'), 200),
    /^undecided_request_passed: .*: a request without a token: 200, from a cache or another backend/,
  ],
  'a route by a header': [
    except(({ headers }, token) => token === CALLERS[0] && headers['x-original-uri'] === '/docs', 'issued-for-docs'),
    /^client_chose_route: .*: x-original-uri: \/docs$/,
  ],
  'a refusal by a header': [except(asksForDocs, 403), /^client_chose_route: .*: x-route: docs: 403$/],
  'a limit of the data plane': [except(asksForDocs, 429), /^echo_not_reached: .*: x-route: docs: 429$/],
  'another backend': [{ decide: () => 200 }, /^echo_not_reached: .*: a request of caller 1: 200$/],
  'a cambist that runs': [{}, /cambist_not_stopped: /, { isStopped: true }],
  'a data plane that is stopped too': [
    {},
    /^echo_not_reached: .*: a request of caller 1: ECONNREFUSED/,
    { isStopped: true, url: new URL('http://127.0.0.1:9/') },
  ],
  'an echo that cannot listen': [{}, /^echo_unavailable: /, { echo: { kind: 'unix', path: '/nowhere/echo.sock' } }],
};

for (const [name, [plane, found, more]] of Object.entries(MISTAKES)) {
  test(`finds ${name}`, async (t) => {
    assert.match(await run(t, plane, more), found);
  });
}

test('accepts a preflight without a credential where it is allowed', async (t) => {
  assert.match(await run(t, except(isPreflight, undefined), { decisions: { preflights: 'allow' } }), /^through_proved/);
});

test('accepts requests without a token on a route without a credential, but no token at its backend', async (t) => {
  const open: Plane = { decide: ({ url = '' }) => (url.startsWith('/github') ? undefined : 404) };
  assert.match(await run(t, open, { route: { credential: 'none' } }), /^through_proved/);
});

test('finds what passes while cambist is stopped', async (t) => {
  const closed: Plane = { decide: () => 503 };
  assert.match(await run(t, closed, { isStopped: true }), /^through_proved: .*: callers get 503$|callers get 503$/);
  const open: Plane = { decide: () => undefined };
  assert.match(await run(t, open, { isStopped: true }), /^undecided_request_passed: /);
});

const config = configOf({
  authorization_servers: { main: SERVER },
  routes: [
    { name: 'github', match: { path: '/github' }, upstream: 'http://127.0.0.1:9000/mcp' },
    { name: 'secure', match: { path: '/secure' }, upstream: 'https://[::1]/mcp' },
    { name: 'open', match: { path: '/open' }, upstream: 'https://open/mcp', credential: 'passthrough' },
  ],
});
const routeNamed = (name: string) => config.routes.find((route) => route.name === name);
const good = {
  config,
  route: routeNamed('github'),
  tokens: ['alice-token'],
  agentToken: undefined,
  url: 'http://127.0.0.1:8080',
  echo: undefined as string | undefined,
  isStopped: false,
};

test('lets the echo listen at the given address, or in the place of the backend', () => {
  for (const [more, echo] of [
    [{}, { kind: 'tcp', host: '127.0.0.1', port: 9000 }],
    [{ route: routeNamed('secure') }, { kind: 'tcp', host: '::1', port: 443 }],
    [{ echo: 'unix:/run/echo.sock' }, { kind: 'unix', path: '/run/echo.sock' }],
    [{ echo: '0.0.0.0:9999' }, { kind: 'tcp', host: '0.0.0.0', port: 9999 }],
  ] as const) {
    assert.deepEqual(throughOptions({ ...good, ...more }).echo, echo);
  }
});

for (const [name, more, message] of [
  ['no route', { route: undefined }, /needs --route/],
  ['no token', { tokens: [] }, /needs --route/],
  ['three tokens', { tokens: ['a', 'b', 'c'] }, /once or twice/],
  ['one token twice', { tokens: ['a', 'a'] }, /two callers/],
  ['a route with passthrough', { route: routeNamed('open') }, /"open", because it sends the caller's token/],
  ['a token of an agent without agents', { agentToken: 'a' }, /agents\.token/],
  ['a URL with a user', { url: 'http://a@b' }, /needs the URL/],
  ['another URL', { url: 'ftp://b' }, /needs the URL/],
  ['a port that is too large', { echo: 'a:99999' }, /--echo: invalid port/],
] as const) {
  test(`refuses to check with ${name}`, () => {
    assert.throws(() => throughOptions({ ...good, ...more }), message);
  });
}
