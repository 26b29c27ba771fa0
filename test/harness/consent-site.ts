import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { decodeJwt } from 'jose';
import { Agent, request } from 'undici';
import { createCertificateAuthority } from './certificates.ts';
import { startHttpServer } from './http-server.ts';
import { Provider, withoutWarnings } from './oidc-provider.ts';

/** A site where users consent: oidc-provider with its pages for sign-in and consent, over https. */
export interface ConsentSite {
  /** As `interaction.hosts` names it. */
  readonly host: string;
  /** PEM: the certificate authority of the site. */
  readonly ca: string;
  /** The URL at which a user consents. */
  urlFor(user: string): string;
  hasConsented(user: string): boolean;
  close(): Promise<void>;
}

const CLIENT = 'broker';

export async function startConsentSite(): Promise<ConsentSite> {
  const authority = createCertificateAuthority();
  const tickets = new Map<string, string>();
  const consented = new Set<string>();
  let handle: (message: IncomingMessage, response: ServerResponse) => void = () => {};
  const server = await startHttpServer((message, response) => handle(message, response), {
    tls: authority.issueServer(),
  });
  const secret = randomBytes(24).toString('base64url');
  const callback = `${server.url}/connected`;
  const provider = withoutWarnings(
    () =>
      new Provider(server.url, {
        clients: [{ client_id: CLIENT, client_secret: secret, redirect_uris: [callback] }],
        cookies: { keys: [randomUUID()] },
        pkce: { required: () => false },
        ttl: { Interaction: 600, Session: 600, Grant: 600, AuthorizationCode: 60, AccessToken: 600, IdToken: 600 },
        findAccount: (_ctx: unknown, sub: string) => ({ accountId: sub, claims: () => ({ sub }) }),
      }),
  );
  provider.silent = true;
  const pages = provider.callback();
  const tls = new Agent({ connect: { ca: authority.cert } });

  /** Redirects to the sign-in, for the user of a ticket. */
  function connect(ticket: string, response: ServerResponse): void {
    const url = new URL(`${server.url}/auth`);
    const query = { client_id: CLIENT, response_type: 'code', scope: 'openid', redirect_uri: callback, state: ticket };
    for (const [name, value] of Object.entries({ ...query, prompt: 'login consent' }))
      url.searchParams.set(name, value);
    response.writeHead(303, { location: url.href }).end();
  }

  /** The consent counts only for the user whose call needs it: any other person may have opened the URL. */
  async function connected(code: string, ticket: string): Promise<boolean> {
    const authorization = `Basic ${Buffer.from(`${CLIENT}:${secret}`).toString('base64')}`;
    const form = new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: callback });
    const { body } = await request(`${server.url}/token`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/x-www-form-urlencoded' },
      body: form.toString(),
      dispatcher: tls,
    });
    const { id_token: token } = (await body.json()) as { id_token?: string };
    const user = token === undefined ? undefined : decodeJwt(token).sub;
    if (user === undefined || user !== tickets.get(ticket)) return false;
    consented.add(user);
    return true;
  }

  handle = (message, response) => {
    const { pathname, searchParams } = new URL(message.url ?? '/', server.url);
    if (pathname === '/connect') {
      connect(searchParams.get('ticket') ?? '', response);
    } else if (pathname === '/connected') {
      connected(searchParams.get('code') ?? '', searchParams.get('state') ?? '').then(
        (done) => response.writeHead(done ? 200 : 403, HTML).end(done ? '<h1>Connected</h1>' : '<h1>Not you</h1>'),
        () => response.writeHead(500).end(),
      );
    } else {
      pages(message, response);
    }
  };

  return {
    host: `localhost:${server.port}`,
    ca: authority.cert,
    urlFor(user) {
      const ticket = randomUUID();
      tickets.set(ticket, user);
      return `${server.url}/connect?ticket=${ticket}`;
    },
    hasConsented: (user) => consented.has(user),
    async close() {
      await tls.close();
      await server.close();
    },
  };
}

const HTML = { 'content-type': 'text/html' };
