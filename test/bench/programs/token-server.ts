import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fabricateToken } from './tokens.ts';

const LIFE_SECONDS = 3600;

export interface TokenServer {
  readonly issuer: string;
  /** Tokens issued so far. */
  issued(): number;
}

/** An authorization server that issues whatever it is asked for, and spends next to nothing on it. */
export async function startTokenServer(): Promise<TokenServer> {
  let issued = 0;
  let issuer = '';
  const server = createServer((request, response) => {
    const answer = (body: unknown): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    if (request.method === 'GET') {
      answer({ issuer, token_endpoint: `${issuer}/token` });
      return;
    }
    void text(request).then((body) => {
      issued += 1;
      answer({
        access_token: fabricateToken(`user-${issued}`, new URLSearchParams(body).get('resource') ?? ''),
        issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        token_type: 'Bearer',
        expires_in: LIFE_SECONDS,
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { issuer, issued: () => issued };
}
