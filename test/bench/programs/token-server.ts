import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fabricateToken, JWKS } from './tokens.ts';

const LIFETIME_SECONDS = 3600;

export interface TokenServer {
  readonly issuer: string;
  /** The number of issued tokens so far. */
  issued(): number;
}

/** An authorization server that issues any requested token, with minimal CPU time. */
export async function startTokenServer(): Promise<TokenServer> {
  let issued = 0;
  let issuer = '';
  const server = createServer((request, response) => {
    const respond = (body: unknown): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    if (request.method === 'GET') {
      respond(
        request.url === '/jwks' ? JWKS : { issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks` },
      );
      return;
    }
    void text(request).then((body) => {
      issued += 1;
      respond({
        access_token: fabricateToken(`user-${issued}`, new URLSearchParams(body).get('resource') ?? ''),
        issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        token_type: 'Bearer',
        expires_in: LIFETIME_SECONDS,
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { issuer, issued: () => issued };
}
