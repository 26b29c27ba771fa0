import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { listen } from '../../harness/http-server.ts';

/** A typical size for access tokens with a few groups and scopes. */
const TOKEN_BYTES = 1024;
const SIGNATURE_BYTES = 64;
const LIFETIME_SECONDS = 2 * 60 * 60;

const HEADER = encode({ alg: 'ES256', typ: 'at+jwt', kid: 'bench' });

const KEYS = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** The keys of the authorization server. */
const JWKS = { keys: [{ ...KEYS.publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'bench' }] };

/** Creates a JWT of about 1 KB with a valid signature. */
export function signToken(subject: string, audience: string, issuer: string): string {
  const unsigned = fabricateToken(subject, audience, issuer).split('.').slice(0, 2).join('.');
  const signature = sign('sha256', Buffer.from(unsigned), { key: KEYS.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${unsigned}.${signature.toString('base64url')}`;
}

/** Creates a JWT of about 1 KB without a valid signature, because signing is the authorization server's cost. */
export function fabricateToken(subject: string, audience: string, issuer = 'https://idp.example.com'): string {
  const nowSeconds = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, sub: subject, aud: audience, iat: nowSeconds };
  const expiry = { exp: nowSeconds + LIFETIME_SECONDS, jti: randomBytes(16).toString('base64url') };
  const bare = encode({ ...claims, ...expiry, groups: '' });
  const signature = randomBytes(SIGNATURE_BYTES).toString('base64url');
  const missing = TOKEN_BYTES - HEADER.length - bare.length - signature.length - 2;
  const groups = 'g'.repeat(Math.max(0, Math.floor((missing * 3) / 4)));
  return `${HEADER}.${encode({ ...claims, ...expiry, groups })}.${signature}`;
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

export type TokenServer = Awaited<ReturnType<typeof startTokenServer>>;

/** An authorization server that issues any requested token, with minimal CPU time. */
export async function startTokenServer() {
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
        expires_in: LIFETIME_SECONDS / 2,
      });
    });
  });
  issuer = `http://127.0.0.1:${(await listen(server)).port}`;
  /** `issued` returns the number of issued tokens so far. */
  return { issuer, issued: () => issued };
}
