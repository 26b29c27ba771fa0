import { randomBytes } from 'node:crypto';
import type { OutgoingHttpHeaders } from 'node:http';
import { type CambistProcess, type Launch, startCambist } from './cambist-process.ts';
import {
  type FakeAuthorizationServer,
  type MintFields,
  secretClient,
  startFakeAuthorizationServer,
} from './fake-authorization-server.ts';
import { echo, type FakeUpstream, startFakeUpstream } from './fake-upstream.ts';
import type { GatewayConfig } from './gateway.ts';
import { type CallOptions, type CallResponse, call, open } from './http-call.ts';
import { freePort } from './http-server.ts';
import { createLeakWatch, type LeakWatch } from './leaks.ts';
import { keepParts, type Lifetime } from './lifetime.ts';

export interface FakeSetupParts {
  authorizationServer: FakeAuthorizationServer;
  upstream: FakeUpstream;
  directory: string;
}

export interface FakeSetupOptions {
  /** Changes the default config, which has the server `local` and the route `tools` at `/tools`. */
  change?: (config: GatewayConfig, parts: FakeSetupParts) => GatewayConfig;
  /** Called before the start of cambist. */
  prepare?: (parts: Omit<FakeSetupParts, 'directory'>) => void | Promise<void>;
  files?: Readonly<Record<string, string>>;
  env?: Readonly<Record<string, string>>;
  launch?: Launch;
  /** False if cambist must not become ready in this test. */
  ready?: boolean;
}

/** A header with a list of values is sent once for each value. */
export interface SetupCall extends Omit<CallOptions, 'headers'> {
  headers?: Readonly<Record<string, string | string[]>>;
}

export interface SetupResponse extends CallResponse {
  requestId: string;
}

export type FakeSetup = Awaited<ReturnType<typeof startFakeSetup>>;

export const SETUP_ROUTE = 'tools';
export const SETUP_SERVER = 'local';

/** Starts cambist between a fake authorization server and a fake upstream, and closes all after `t`. */
export async function startFakeSetup(t: Lifetime, options: FakeSetupOptions = {}) {
  const { change = (config) => config, prepare, files = {}, env, launch, ready = true } = options;
  const leaks = createLeakWatch();
  const clientSecret = randomBytes(24).toString('base64url');
  leaks.remember(clientSecret);
  const parts = keepParts();
  t.after(parts.close);
  // The system chooses no such port, so a test can close the server and start it again.
  const authorizationServer = await startFakeAuthorizationServer(parts, { port: await freePort() });
  const upstream = await startFakeUpstream(parts, echo);
  await prepare?.({ authorizationServer, upstream });
  const cambist = await startCambist(parts, {
    config: (directory) => {
      const parts = { authorizationServer, upstream, directory };
      return change(fakeSetupConfig(parts), parts);
    },
    files: { 'client-secret': clientSecret, ...files },
    ...(env === undefined ? {} : { env }),
    ...(launch === undefined ? {} : { launch }),
  });
  if (ready) await cambist.ready();
  return setup({ authorizationServer, upstream, cambist, leaks, clientSecret });
}

/** Shorter values are not tokens, but invalid responses of a test. */
const MIN_TOKEN_LENGTH = 8;

let calls = 0;

interface SetupParts {
  authorizationServer: FakeAuthorizationServer;
  upstream: FakeUpstream;
  cambist: CambistProcess;
  clientSecret: string;
  /** Watches for the client secret and all subject tokens and issued tokens. */
  leaks: LeakWatch;
}

function setup(parts: SetupParts) {
  const { authorizationServer, cambist, leaks } = parts;
  const subjectToken = async (fields?: MintFields) => {
    const token = await authorizationServer.mint(fields);
    leaks.remember(token);
    return token;
  };
  const known = new Set<string>();
  const rememberIssued = () => {
    for (const { issued = '' } of authorizationServer.requests) {
      if (known.has(issued) || issued.length < MIN_TOKEN_LENGTH) continue;
      known.add(issued);
      leaks.remember(issued);
    }
  };
  const addressed = (options: SetupCall, requestId: string): CallOptions => ({
    method: 'POST',
    path: `/${SETUP_ROUTE}`,
    ...options,
    headers: { 'x-request-id': requestId, ...options.headers } as OutgoingHttpHeaders,
  });
  return {
    ...parts,
    subjectToken,
    /** The header of a caller with a new subject token. */
    bearer: async (fields?: MintFields) => ({ authorization: `Bearer ${await subjectToken(fields)}` }),
    call: async (options: SetupCall = {}): Promise<SetupResponse> => {
      calls += 1;
      const requestId = `call-${calls}`;
      const response = await call(cambist.url, addressed(options, requestId));
      rememberIssued();
      return { ...response, requestId };
    },
    /** Like `call`, but resolves with the response headers. */
    open: (options: SetupCall = {}) => {
      calls += 1;
      return open(cambist.url, addressed(options, `call-${calls}`));
    },
  };
}

/** The default config, with one route. */
export function fakeSetupConfig({ authorizationServer, upstream, directory }: FakeSetupParts): GatewayConfig {
  return {
    authorization_servers: { [SETUP_SERVER]: secretClient(authorizationServer, directory) },
    routes: [{ name: SETUP_ROUTE, match: { path: `/${SETUP_ROUTE}` }, upstream: `${upstream.url}/mcp` }],
  };
}
