import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import type {
  OAuthClientInformationMixed,
  OAuthClientMetadata,
  OAuthTokens,
} from '@modelcontextprotocol/sdk/shared/auth.js';
import { startTestApp } from './app.ts';
import {
  type Behaviour,
  type FakeAuthorizationServer,
  sendResponse,
  startFakeAuthorizationServer,
  type TokenRequest,
} from './fake-authorization-server.ts';
import { respond, startFakeUpstream } from './fake-upstream.ts';
import type { Lifetime } from './lifetime.ts';
import { startMcpBackend } from './mcp-fixture/server.ts';

/** One visit of a user to the authorization endpoint. */
interface SignIn {
  readonly clientId: string | null;
  readonly scope: string | null;
  readonly resource: string | null;
}

/** A fake authorization server at which clients register and users sign in. */
export interface SignInServer extends FakeAuthorizationServer {
  readonly signIns: SignIn[];
  /** The behaviour for a token exchange. */
  exchange: (form: URLSearchParams) => Behaviour;
}

interface Code {
  readonly challenge: string;
  readonly scope: string | null;
}

/** Starts the server. Every user is signed in at once, without a page. The access tokens are for cambist. */
async function startSignInServer(t: Lifetime): Promise<SignInServer> {
  const signIns: SignIn[] = [];
  const codes = new Map<string, Code>();
  const fake = await startFakeAuthorizationServer(t, {
    respond(url, request, response) {
      if (url.pathname === '/authorize') authorize(url, response);
      else if (url.pathname === '/register') void register(request, response);
      else return false;
      return true;
    },
  });
  fake.metadataBehaviour = {
    kind: 'document',
    fields: {
      authorization_endpoint: `${fake.issuer}/authorize`,
      registration_endpoint: `${fake.issuer}/register`,
      response_types_supported: ['code'],
      grant_types_supported: ['authorization_code', 'refresh_token'],
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['none'],
      authorization_response_iss_parameter_supported: true,
    },
  };
  const server: SignInServer = Object.assign(fake, { signIns, exchange: () => ({ kind: 'issue' }) as Behaviour });
  fake.behaviour = ({ form }: TokenRequest) =>
    form.get('grant_type') === 'authorization_code' ? redeem(form) : server.exchange(form);
  return server;

  function authorize({ searchParams }: URL, response: ServerResponse): void {
    const get = (name: string) => searchParams.get(name);
    signIns.push({ clientId: get('client_id'), scope: get('scope'), resource: get('resource') });
    const code = randomUUID();
    codes.set(code, { challenge: get('code_challenge') ?? '', scope: get('scope') });
    const back = new URL(get('redirect_uri') ?? '');
    const parameters = { code, state: get('state') ?? '', iss: fake.issuer };
    for (const [name, value] of Object.entries(parameters)) back.searchParams.set(name, value);
    response.writeHead(302, { location: back.href }).end();
  }

  function redeem(form: URLSearchParams): Behaviour {
    const code = codes.get(form.get('code') ?? '');
    codes.delete(form.get('code') ?? '');
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url');
    if (code === undefined || code.challenge !== challenge) {
      return { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
    }
    const scope = code.scope ?? undefined;
    return { kind: 'issue', audience: 'cambist', subject: 'alice', claims: { scope }, fields: { scope } };
  }
}

/** Registers a public client (RFC 7591). */
async function register(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const metadata = JSON.parse(await text(request)) as Record<string, unknown>;
  sendResponse(response, 201, { ...metadata, client_id: 'agent', token_endpoint_auth_method: 'none' });
}

/** The tools for whose calls cambist or the backend refuses the request. */
const REFUSALS = {
  /** 401 `ERR_SUBJECT_TOKEN_INVALID`: the authorization server refuses the caller's token. */
  signed_out: { error: 'invalid_grant' },
  /** 403 `ERR_EXCHANGE_REFUSED` */
  forbidden: { error: 'invalid_target' },
} as const;

/** The scopes that cambist tells clients to request. */
export const SCOPE = 'openid agent';

/** The scope that the tool `scoped` wants. It exists at the backend alone. */
export const BACKEND_SCOPE = 'repo:write';

export type RefusingSetup = Awaited<ReturnType<typeof startRefusingSetup>>;

/**
 * cambist between a server where users sign in and an MCP server. Calls of some tools fail: those of `REFUSALS`, `unreachable`
 * by 502 `ERR_UPSTREAM_UNREACHABLE`, and `scoped` by a 403 of the backend that asks for a scope.
 */
export async function startRefusingSetup(t: TestContext) {
  const server = await startSignInServer(t);
  const fixture = await startMcpBackend(t, { issuer: server.issuer, jwksUri: server.jwksUri });
  const scoped = await startFakeUpstream(
    t,
    respond(403, 'the backend wants more scopes', {
      'www-authenticate': `Bearer error="insufficient_scope", scope="${BACKEND_SCOPE}"`,
    }),
  );
  server.exchange = (form) => {
    const refusal = Object.entries(REFUSALS).find(([tool]) => form.get('resource') === `urn:test:${tool}`);
    return refusal === undefined ? { kind: 'issue' } : { kind: 'response', status: 400, body: refusal[1] };
  };
  const routeOf = (tool: string, upstream: string) => ({
    name: tool.replace('_', '-'),
    match: { path: '/mcp', mcp_method: 'tools/call', mcp_name: tool },
    upstream,
    resource: `urn:test:${tool}`,
  });
  const config = {
    authorization_servers: {
      local: { issuer: server.issuer, client_id: 'cambist', client_auth: { method: 'none' } },
    },
    defaults: { subject_token: { scope: SCOPE } },
    routes: [
      { name: 'tools', match: { path: '/mcp' }, upstream: fixture.url },
      ...Object.keys(REFUSALS).map((tool) => routeOf(tool, fixture.url)),
      routeOf('unreachable', 'http://127.0.0.1:1/mcp'),
      routeOf('scoped', `${scoped.url}/mcp`),
    ],
  };
  const app = await startTestApp(t, config);
  /** A test may change the config, and reload it. */
  return { app, server, fixture, config, url: `${app.url}/mcp` };
}

/** The OAuth state of one MCP client, for both TypeScript SDKs. Its user signs in without a browser. */
export function createSignInProvider() {
  const kept: { client?: OAuthClientInformationMixed; tokens?: OAuthTokens; verifier?: string; discovered?: unknown } =
    {};
  const keep = (more: typeof kept): void => void Object.assign(kept, more);
  const redirectUrl = 'http://127.0.0.1/callback';
  const clientMetadata: OAuthClientMetadata = {
    client_name: 'agent',
    redirect_uris: [redirectUrl],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  const provider = {
    redirectUrl,
    clientMetadata,
    /** The parameters of the last redirect from the authorization server. */
    redirected: new URLSearchParams(),
    clientInformation: () => kept.client,
    saveClientInformation: (client: OAuthClientInformationMixed) => keep({ client }),
    tokens: () => kept.tokens,
    saveTokens: (tokens: OAuthTokens) => keep({ tokens }),
    codeVerifier: () => kept.verifier ?? '',
    saveCodeVerifier: (verifier: string) => keep({ verifier }),
    /** Asked by the SDK 2.x alone. */
    discoveryState: () => kept.discovered as undefined,
    saveDiscoveryState: (discovered: unknown) => keep({ discovered }),
    async redirectToAuthorization(url: URL): Promise<void> {
      const { headers } = await fetch(url, { redirect: 'manual' });
      provider.redirected = new URL(headers.get('location') ?? '').searchParams;
    },
  };
  return provider;
}

export type SignInProvider = ReturnType<typeof createSignInProvider>;
