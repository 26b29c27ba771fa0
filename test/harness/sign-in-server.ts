import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import {
  type Behaviour,
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  type TokenRequest,
} from './fake-authorization-server.ts';
import { sendResponse } from './faults.ts';
import type { Lifetime } from './lifetime.ts';

/** One visit of a user to the authorization endpoint. */
export interface SignIn {
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
export async function startSignInServer(t: Lifetime): Promise<SignInServer> {
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
