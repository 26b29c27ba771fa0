import { createPrivateKey, type KeyObject, randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import type { AuthorizationServer, ClientAuth } from '../config/config.ts';
import { readCredential } from '../config/credential.ts';
import { CambistError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { FormField } from './token-request.ts';

/** What client authentication adds to a token request. */
export interface ClientAuthentication {
  readonly authorization: string | undefined;
  readonly fields: readonly FormField[];
}

const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/**
 * Proves to the token endpoint who we are. Secrets and keys are read at each call, so they rotate by themselves.
 * @param audience `aud` of an assertion where the config sets none: the issuer, or else the token endpoint
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
 * @see RFC 6749 section 2.3.1, RFC 7523 section 2.2
 */
export async function authenticateClient(
  server: AuthorizationServer,
  audience: string,
  clock: Clock,
): Promise<ClientAuthentication> {
  const { clientAuth: auth } = server;
  const clientId = server.clientId ?? '';
  switch (auth.method) {
    case 'none':
      return { authorization: undefined, fields: server.clientId === undefined ? [] : [['client_id', clientId]] };
    case 'client_secret_basic': {
      const secret = await readClientSecret(auth.clientSecret, server);
      return { authorization: basic(clientId, secret, auth.basicEncoding), fields: [] };
    }
    case 'client_secret_post': {
      const secret = await readClientSecret(auth.clientSecret, server);
      return {
        authorization: undefined,
        fields: [
          ['client_id', clientId],
          ['client_secret', secret],
        ],
      };
    }
    case 'private_key_jwt': {
      const assertion = await signAssertion(auth, server.name, clientId, audience, clock);
      return {
        authorization: undefined,
        fields: [
          ['client_id', clientId],
          ['client_assertion_type', JWT_BEARER],
          ['client_assertion', assertion],
        ],
      };
    }
  }
}

async function readClientSecret(
  source: Parameters<typeof readCredential>[0],
  server: AuthorizationServer,
): Promise<string> {
  return (await readCredential(source, `client secret of authorization server "${server.name}"`)).reveal();
}

function basic(id: string, secret: string, encoding: 'form' | 'raw'): string {
  const pair = encoding === 'form' ? `${formEncode(id)}:${formEncode(secret)}` : `${id}:${secret}`;
  return `Basic ${Buffer.from(pair, 'utf8').toString('base64')}`;
}

/** Leaves `-_.~` raw, which suits the servers that decode and, for ordinary secrets, those that do not. */
function formEncode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');
}

type PrivateKeyJwt = Extract<ClientAuth, { method: 'private_key_jwt' }>;

async function signAssertion(
  auth: PrivateKeyJwt,
  serverName: string,
  clientId: string,
  audience: string,
  clock: Clock,
): Promise<string> {
  const what = `private key of authorization server "${serverName}"`;
  const text = (await readCredential(auth.privateKey, what)).reveal();
  const now = Math.floor(clock.wallMs() / 1000);
  try {
    const { key, alg, keyId } = importPrivateKey(text);
    return await new SignJWT()
      .setProtectedHeader({ alg: auth.alg ?? alg, typ: 'JWT', ...withKeyId(auth.keyId ?? keyId) })
      .setIssuer(clientId)
      .setSubject(clientId)
      .setAudience(auth.assertionAudience ?? audience)
      .setJti(randomUUID())
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + Math.ceil(auth.assertionLifetimeMs / 1000))
      .sign(key);
  } catch {
    // The library's error is dropped: it may quote what it could not read.
    throw new CambistError(
      'ERR_CREDENTIAL_UNAVAILABLE',
      `${what}: it cannot sign${auth.alg === undefined ? '' : ` with ${auth.alg}`}: write a private key in PEM ` +
        '(PKCS#8, PKCS#1 or SEC1, unencrypted) or JWK that fits the algorithm',
    );
  }
}

function withKeyId(keyId: string | undefined): { kid?: string } {
  return keyId === undefined ? {} : { kid: keyId };
}

interface ImportedKey {
  readonly key: KeyObject;
  readonly alg: string;
  readonly keyId: string | undefined;
}

function importPrivateKey(text: string): ImportedKey {
  if (!text.trimStart().startsWith('{')) {
    const key = createPrivateKey(text);
    return { key, alg: algorithmOf(key), keyId: undefined };
  }
  const jwk = JSON.parse(text);
  const key = createPrivateKey({ key: jwk, format: 'jwk' });
  return { key, alg: typeof jwk.alg === 'string' ? jwk.alg : algorithmOf(key), keyId: jwk.kid };
}

/** The usual algorithm for a key of this kind; RFC 8725 leaves the choice to whoever holds the key. */
function algorithmOf(key: KeyObject): string {
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return 'RS256';
    case 'rsa-pss':
      return 'PS256';
    case 'ec':
      return (
        { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }[key.asymmetricKeyDetails?.namedCurve ?? ''] ??
        'ES256'
      );
    default:
      return 'EdDSA';
  }
}
