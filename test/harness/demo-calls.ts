import { styleText } from 'node:util';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { type AgentFetch, type AgentSdk, SDK_V1, SDK_V2_NEGOTIATED } from './agent-client.ts';
import { legacyCall, modernCall } from './consent.ts';
import type { BackendRequest } from './mcp-fixture/server.ts';
import type { McpSetup, RouteName } from './mcp-setup.ts';

interface DemoCall {
  backend: RouteName;
  /** False if the request went to the backend directly. */
  isThroughCambist: boolean;
  revision: string;
  /** The JSON-RPC method, and the name of the tool. */
  request: string;
  status: number;
  cache: string;
  receivedSubject: string;
  receivedAudience: string;
}

export interface DemoFindings {
  algorithm: string;
  callerAudience: string;
  calls: DemoCall[];
  exchanges: number;
}

/** Begins a session in MCP revision 2025-11-25. */
export const INITIALIZE = legacyCall({
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'curl', version: '1' } },
}).body;

/** The first request of MCP revision 2026-07-28, which has no sessions. */
export const DISCOVER = modernCall({ method: 'server/discover', params: {}, capabilities: {} });

/** The prefix of the request ids. A request has the same id at the client, in the log and at the backend. */
const ID_PREFIX = 'demo-';

/** Sends the caller's own token to a backend directly, then calls both backends through cambist with official MCP clients. */
export async function makeCalls(setup: McpSetup, token: string): Promise<DemoFindings> {
  const calls = [
    await callDirectly(setup, 'github', token),
    ...(await callBackend(setup, 'github', SDK_V2_NEGOTIATED, token)),
    ...(await callBackend(setup, 'docs', SDK_V1, token)),
  ];
  return {
    algorithm: decodeProtectedHeader(token).alg ?? 'unknown',
    callerAudience: audienceOf(decodeJwt(token).aud),
    calls,
    exchanges: setup.authorizationServer.requests.filter(({ error }) => error === undefined).length,
  };
}

async function callDirectly(setup: McpSetup, backend: RouteName, token: string): Promise<DemoCall> {
  const { status } = await fetch(setup.backends[backend].url, {
    method: 'POST',
    headers: { ...DISCOVER.headers, authorization: `Bearer ${token}` },
    body: DISCOVER.body,
  });
  const { sub = 'unknown', aud } = decodeJwt(token);
  return {
    backend,
    isThroughCambist: false,
    ...describeRequest(new Headers(DISCOVER.headers), DISCOVER.body),
    status,
    cache: '-',
    receivedSubject: sub,
    receivedAudience: audienceOf(aud),
  };
}

async function callBackend(setup: McpSetup, backend: RouteName, sdk: AgentSdk, token: string): Promise<DemoCall[]> {
  const sent: { id: string; revision: string; request: string }[] = [];
  const recording: AgentFetch = (url, init) => {
    const id = `${ID_PREFIX}${backend}-${sent.length + 1}`;
    const headers = new Headers(init?.headers as Record<string, string>);
    sent.push({ id, ...describeRequest(headers, init?.body) });
    headers.set('x-request-id', id);
    return fetch(url, { ...init, headers });
  };
  const client = await sdk.connect(setup.url(backend), token, recording);
  try {
    await client.listTools();
    await client.call('whoami');
  } finally {
    await client.close();
  }
  const shown = sent.filter(({ request }) => request !== '');
  return Promise.all(shown.map(({ id, ...described }) => findCall(setup, backend, id, described)));
}

async function findCall(
  setup: McpSetup,
  backend: RouteName,
  id: string,
  described: { revision: string; request: string },
): Promise<DemoCall> {
  const log = await setup.cambist.waitForLog((line) => line.request_id === id && line.msg === 'request');
  const received = setup.backends[backend].requests.find(({ rawHeaders }) => rawHeaders.includes(id));
  return {
    backend,
    isThroughCambist: true,
    ...described,
    status: Number(log.status),
    cache: String(log.cache),
    receivedSubject: received?.claims?.sub ?? 'none',
    receivedAudience: audienceOf(received?.claims?.aud),
  };
}

/** `request` is empty for requests that the demo does not show: notifications, and the stream and the end of a session. */
function describeRequest(headers: Headers, body: unknown): { revision: string; request: string } {
  if (typeof body !== 'string') return { revision: '', request: '' };
  const { id, method, params } = JSON.parse(body) as {
    id?: number;
    method: string;
    params?: { name?: string; protocolVersion?: string };
  };
  return {
    revision: headers.get('mcp-protocol-version') ?? params?.protocolVersion ?? '',
    request: id === undefined ? '' : [method, params?.name].join(' ').trim(),
  };
}

function audienceOf(aud: string | string[] | undefined): string {
  return [aud ?? 'none'].flat().join(', ');
}

/** Widths of the columns before the last. */
const WIDTHS = [7, 8, 11, 18, 6, 5, 5] as const;

export function describeFindings({ algorithm, callerAudience, calls, exchanges }: DemoFindings): string {
  const forwarded = calls.filter(({ isThroughCambist }) => isThroughCambist);
  return [
    styleText('bold', "cambist: the caller's token goes in, a token for exactly one MCP backend comes out."),
    '',
    `The caller, alice, has one token, signed with ${algorithm}. Its audience (aud) is: ${styleText('cyan', callerAudience)}`,
    'With this token, her agent calls a backend directly. Then it calls two backends through cambist:',
    '',
    styleText(
      'dim',
      row('backend', 'via', 'MCP', 'request', 'status', 'cache', 'sub', 'aud of the token that the backend received'),
    ),
    ...calls.map(describeCall),
    '',
    `${exchanges} token exchanges for ${forwarded.length} requests through cambist. None of them carried alice's own token.`,
    '',
  ].join('\n');
}

function describeCall(call: DemoCall): string {
  const { backend, isThroughCambist, revision, request, status, cache, receivedSubject, receivedAudience } = call;
  return row(
    backend,
    isThroughCambist ? 'cambist' : 'directly',
    revision,
    request,
    styleText(status === 200 ? 'green' : 'red', String(status).padEnd(WIDTHS[4])),
    styleText(cache === 'hit' ? 'green' : 'yellow', cache.padEnd(WIDTHS[5])),
    receivedSubject,
    styleText('cyan', receivedAudience),
  );
}

function row(...cells: string[]): string {
  return `  ${cells.map((cell, index) => cell.padEnd(WIDTHS[index] ?? 0)).join('  ')}`;
}

/** The promises of cambist that the calls did not keep, as sentences. */
export function brokenPromises(setup: McpSetup, { calls, exchanges }: DemoFindings, token: string): string[] {
  const backends = Object.values(setup.backends);
  return [
    ...calls.flatMap((call) => brokenPromisesOf(call, setup)),
    ...backends.flatMap(({ name, requests }) => {
      const forwarded = requests.filter(({ rawHeaders }) => rawHeaders.some((text) => text.startsWith(ID_PREFIX)));
      return forwarded.flatMap((request) => brokenPromisesAt(name, request, token));
    }),
    ...(exchanges === backends.length
      ? []
      : [`cambist made ${exchanges} token exchanges for ${backends.length} backends`]),
  ];
}

function brokenPromisesOf({ backend, isThroughCambist, request, status, receivedAudience }: DemoCall, setup: McpSetup) {
  if (!isThroughCambist) return status === 401 ? [] : [`${backend} accepted the caller's own token: ${status}`];
  return [
    ...(status === 200 ? [] : [`"${request}" of ${backend} got status ${status}`]),
    ...(receivedAudience === setup.backends[backend].resource
      ? []
      : [`"${request}" reached ${backend} with a token for "${receivedAudience}"`]),
  ];
}

function brokenPromisesAt(name: string, { rawHeaders, authorization }: BackendRequest, token: string): string[] {
  return [
    ...(rawHeaders.some((text) => text.includes(token)) ? [`the caller's own token reached ${name}`] : []),
    ...(authorization.length === 1 ? [] : [`${name} received ${authorization.length} Authorization headers`]),
  ];
}
