import {
  createHash,
  createPrivateKey,
  createSecretKey,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  X509Certificate,
} from 'node:crypto';
import type { SignJWT } from 'jose';
import type { Clock } from '../clock/clock.ts';
import type { AssertionRules, AuthorizationServer, ClientAuth } from '../config/authorization-server.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { readCredential, unavailable } from '../secrets/credential.ts';
import { oncePerSecret, type Secret } from '../secrets/secret.ts';
import { EXPIRY_LEEWAY_MS, isB64Token, readClaims } from './token-text.ts';

type Method<Name extends ClientAuth['method']> = Extract<ClientAuth, { method: Name }>;
type CredentialRead = TokenObserver['credentialRead'];

/**
 * Signs a client assertion with the client secret.
 * @param audience default `aud`
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
 * @see OpenID Connect Core 1.0 section 9 (client_secret_jwt), RFC 7523 section 3
 */
export async function signWithSecret(
  secret: Secret,
  auth: Method<'client_secret_jwt'>,
  server: AuthorizationServer,
  audience: string,
  clock: Clock,
): Promise<string> {
  try {
    const unsigned = await assertion(auth, server, audience, clock);
    return await unsigned.setProtectedHeader({ alg: auth.alg, typ: 'JWT' }).sign(macKeyOf(secret));
  } catch {
    const what = `client secret of authorization server "${server.name}"`;
    throw unavailable(`${what}: it cannot sign with ${auth.alg}: check its length`);
  }
}

/**
 * Signs a client assertion with a private key.
 * @param audience default `aud`
 * @param credentialRead is called with the expiry of the certificate
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
 * @see RFC 7523 section 2.2, RFC 7515 section 4.1.8
 */
export async function signWithKey(
  auth: Method<'private_key_jwt'>,
  server: AuthorizationServer,
  audience: string,
  clock: Clock,
  credentialRead: CredentialRead,
): Promise<string> {
  const what = `private key of authorization server "${server.name}"`;
  const secret = await readCredential(auth.privateKey, what);
  const certificate = auth.certificate && (await readCertificate(auth.certificate, server, credentialRead));
  try {
    const { key, alg, keyId } = privateKeyOf(secret);
    if (certificate?.x509.checkPrivateKey(key) === false) throw new Error('another key');
    const kid = auth.keyId ?? keyId;
    const unsigned = await assertion(auth, server, audience, clock);
    return await unsigned
      .setProtectedHeader({
        alg: auth.alg ?? alg,
        typ: 'JWT',
        ...(kid !== undefined && { kid }),
        ...(certificate !== undefined && { 'x5t#S256': certificate.thumbprint }),
      })
      .sign(key);
  } catch {
    // The library's error is dropped, because it may quote the key.
    throw unavailable(
      `${what}: it cannot sign${auth.alg === undefined ? '' : ` with ${auth.alg}`}: write a private key in PEM ` +
        '(PKCS#8, PKCS#1 or SEC1, unencrypted) or JWK that matches the algorithm and the certificate',
    );
  }
}

/**
 * Reads an assertion: a JWT-SVID, or a file that another program renews.
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE when it is missing, malformed or expired
 */
export async function readAssertion(
  auth: Method<'client_assertion'>,
  server: AuthorizationServer,
  clock: Clock,
  credentialRead: CredentialRead,
): Promise<string> {
  const what = `client assertion of authorization server "${server.name}"`;
  if (auth.clientAssertion === undefined) throw unavailable(`${what}: it was not requested`);
  const text = (await readCredential(auth.clientAssertion, what)).reveal().trim();
  if (!isB64Token(text)) throw unavailable(`${what}: the file contains no token: check the path`);
  const exp: unknown = readClaims(text)?.exp;
  if (typeof exp !== 'number') return text;
  credentialRead(what, exp);
  if (exp * 1000 + EXPIRY_LEEWAY_MS > clock.wallMs()) return text;
  throw unavailable(`${what}: it is expired: check the process that renews it`);
}

async function assertion(
  rules: AssertionRules,
  server: AuthorizationServer,
  audience: string,
  clock: Clock,
): Promise<SignJWT> {
  // Loaded at first use, because most configs sign nothing.
  const { SignJWT } = await import('jose/jwt/sign');
  const clientId = server.clientId ?? '';
  const now = Math.floor(clock.wallMs() / 1000);
  return new SignJWT()
    .setIssuer(clientId)
    .setSubject(clientId)
    .setAudience(rules.assertionAudience ?? audience)
    .setJti(randomUUID())
    .setIssuedAt(now)
    .setNotBefore(now)
    .setExpirationTime(now + Math.ceil(rules.assertionLifetimeMs / 1000));
}

async function readCertificate(
  source: Parameters<typeof readCredential>[0],
  server: AuthorizationServer,
  credentialRead: CredentialRead,
) {
  const what = `client certificate of authorization server "${server.name}"`;
  const secret = await readCredential(source, what);
  try {
    const certificate = certificateOf(secret);
    credentialRead(what, certificate.expiresAtSeconds);
    return certificate;
  } catch (cause) {
    throw unavailable(`${what}: the file contains no PEM certificate`, cause);
  }
}

const certificateOf = oncePerSecret((pem) => {
  const x509 = new X509Certificate(pem);
  return {
    x509,
    /** `x5t#S256` */
    thumbprint: createHash('sha256').update(x509.raw).digest('base64url'),
    expiresAtSeconds: Date.parse(x509.validTo) / 1000,
  };
});

const macKeyOf = oncePerSecret((secret) => createSecretKey(Buffer.from(secret, 'utf8')));

/** Parsing a PEM key costs several times as much as signing with it. */
const privateKeyOf = oncePerSecret((text) => {
  if (!text.trimStart().startsWith('{')) {
    const key = createPrivateKey(text);
    return { key, alg: algorithmOf(key), keyId: undefined };
  }
  const jwk: JsonWebKey = JSON.parse(text);
  const key = createPrivateKey({ key: jwk, format: 'jwk' });
  const { alg, kid } = jwk;
  return {
    key,
    alg: typeof alg === 'string' ? alg : algorithmOf(key),
    keyId: typeof kid === 'string' ? kid : undefined,
  };
});

const ALGORITHM_OF_CURVE: Readonly<Record<string, string>> = { secp384r1: 'ES384', secp521r1: 'ES512' };

/** The usual algorithm for a type of key. RFC 8725 leaves the choice to the holder of the key. */
function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  if (asymmetricKeyType === 'rsa') return 'RS256';
  return asymmetricKeyType === 'ec' ? (ALGORITHM_OF_CURVE[asymmetricKeyDetails?.namedCurve ?? ''] ?? 'ES256') : 'EdDSA';
}
