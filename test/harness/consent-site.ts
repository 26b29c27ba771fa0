import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { decodeJwt } from 'jose';
import { Agent, type Dispatcher, request } from 'undici';
import { createCertificateAuthority } from './certificates.ts';
import { startFakeAuthorizationServer } from './fake-authorization-server.ts';
import { clientOf, type GatewayConfig } from './gateway.ts';
import { startHttpServer } from './http-server.ts';
import type { Lifetime } from './lifetime.ts';
import { startMcpBackend } from './mcp-fixture/server.ts';
import { Provider, withoutWarnings } from './oidc-provider.ts';

/** Starts an authorization server that wants users to consent first, the site where they do, and an MCP server. */
export async function startConsentSetup(t: Lifetime) {
  const server = await startFakeAuthorizationServer(t);
  const site = await startConsentSite();
  t.after(site.close);
  const fixture = await startMcpBackend(t, { issuer: server.issuer, jwksUri: server.jwksUri });
  server.behaviour = ({ form }) => {
    const subject = form.get('subject_token');
    const user = subject === null ? undefined : (decodeJwt(subject).sub ?? '');
    if (user === undefined || site.hasConsented(user)) return { kind: 'issue' };
    return {
      kind: 'response',
      status: 400,
      body: { error: 'interaction_required', interaction_uri: site.urlFor(user) },
    };
  };
  const config: GatewayConfig = {
    interaction: { hosts: [site.host] },
    authorization_servers: { local: clientOf(server) },
    routes: [
      { name: 'list', match: { path: '/mcp' }, upstream: fixture.url, credential: 'client_credentials' },
      { name: 'call', match: { path: '/mcp', mcp_method: 'tools/call' }, upstream: fixture.url },
    ],
  };
  return { server, site, fixture, config };
}

/** A site where users consent: oidc-provider with its pages for sign-in and consent, over https. */
export type ConsentSite = Awaited<ReturnType<typeof startConsentSite>>;

const CLIENT = 'broker';

async function startConsentSite() {
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
    const query = { client_id: CLIENT, response_type: 'code', scope: 'openid', redirect_uri: callback, state: ticket };
    const parameters = new URLSearchParams({ ...query, prompt: 'login consent' });
    response.writeHead(303, { location: `${server.url}/auth?${parameters}` }).end();
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
    /** As `interaction.hosts` names it. */
    host: `localhost:${server.port}`,
    /** PEM: the certificate authority of the site. */
    ca: authority.cert,
    /** The URL at which a user consents. */
    urlFor(user: string) {
      const ticket = randomUUID();
      tickets.set(ticket, user);
      return `${server.url}/connect?ticket=${ticket}`;
    },
    hasConsented: (user: string) => consented.has(user),
    async close() {
      await tls.close();
      await server.close();
    },
  };
}

const HTML = { 'content-type': 'text/html' };

interface Page {
  readonly url: string;
  /** The form of a POST. */
  readonly form?: URLSearchParams;
}

/** Pages of a sign-in and a consent, each of which redirects. */
const MAX_PAGES = 20;

/**
 * Visits a consent site like a user without a browser: follows redirects, keeps cookies, signs in as `user`, and consents.
 * @param ca PEM of the site
 * @returns the text of the last page
 */
export async function consentAt(url: string, user: string, ca: string): Promise<string> {
  const dispatcher = new Agent({ connect: { ca } });
  const cookies = new Map<string, string>();
  let next: Page = { url };
  try {
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const { url: address, form }: Page = next;
      const { statusCode, headers, body }: Dispatcher.ResponseData = await request(address, {
        method: form === undefined ? 'GET' : 'POST',
        headers: {
          cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
          ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        ...(form !== undefined && { body: form.toString() }),
        dispatcher,
      });
      for (const cookie of [headers['set-cookie'] ?? []].flat()) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
        if (value === '') cookies.delete(name);
        else cookies.set(name, value);
      }
      const text = await body.text();
      const location: unknown = headers.location;
      if (typeof location === 'string') {
        next = { url: new URL(location, address).href };
      } else if (statusCode === 200 && /<form/.test(text)) {
        next = { url: actionOf(text, address), form: fieldsOf(text, user) };
      } else {
        return text;
      }
    }
  } finally {
    await dispatcher.close();
  }
  throw new Error(`the consent site has more than ${MAX_PAGES} pages`);
}

function actionOf(page: string, address: string): string {
  return new URL(/action="([^"]+)"/.exec(page)?.[1] ?? '', address).href;
}

/** oidc-provider's page for sign-in asks for a name and any password. Its page for consent has one button. */
function fieldsOf(page: string, user: string): URLSearchParams {
  const prompt = /name="prompt" value="([^"]+)"/.exec(page)?.[1] ?? '';
  return new URLSearchParams({ prompt, ...(prompt === 'login' && { login: user, password: 'any' }) });
}
