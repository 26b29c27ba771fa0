import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import type { TestContext } from 'node:test';
import { SignJWT } from 'jose';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { createSubjectVerifier } from '../../../src/tokens/subject-verifier.ts';
import { type Fault, respondWithFault, sendResponse } from '../../harness/fake-authorization-server.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { dispatcherOf, failsWith, verificationOf } from './sample.ts';

export const noIntrospection = async () => assert.fail('no introspection here');

type IssuerKey = ReturnType<typeof issuerKey>;

/** A key of the issuer. Its id is optional. */
export function issuerKey(kid: string | undefined, alg: 'ES256' | 'RS256' | 'EdDSA' = 'ES256') {
  const { privateKey, publicKey } = newPair(alg);
  const jwk = { ...publicKey.export({ format: 'jwk' }), ...(kid !== undefined && { kid }), use: 'sig' };
  return { kid, alg, privateKey, jwk };
}

function newPair(alg: string) {
  if (alg === 'RS256') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

export type Issuer = Awaited<ReturnType<typeof startIssuer>>;

type Claims = Record<string, unknown>;

/** Starts an issuer that publishes its keys, and a verifier that uses them. */
export async function startIssuer(t: TestContext, first = issuerKey('one'), ...others: IssuerKey[]) {
  const paths: string[] = [];
  const server = await startHttpServer((request, response) => {
    paths.push(request.url ?? '');
    if (issuer.fault !== undefined) void respondWithFault(issuer.fault, response);
    // As Kubernetes does, which serves its keys as this type alone.
    else if (request.headers.accept === 'application/json' && request.url === '/jwks') sendResponse(response, 406, '');
    else if (request.url === '/jwks') sendResponse(response, 200, { keys: issuer.keys.map(({ jwk }) => jwk) });
    else if (request.url?.startsWith('/.well-known/') === true) {
      sendResponse(response, 200, { issuer: server.url, jwks_uri: `${server.url}/jwks` });
    } else sendResponse(response, 404, '');
  });
  t.after(server.close);
  const agent = dispatcherOf(t);
  const clock = createFakeClock();
  const pool = () => agent;
  const verifier = createSubjectVerifier(pool, clock, noIntrospection);
  /** The `verify` rules of a route. */
  const rules = (fields: Partial<SubjectVerification> = {}) =>
    verificationOf({ issuer: server.url, jwksUri: `${server.url}/jwks`, ...fields });
  const usual = rules();
  /** Signs a token for `cambist` that lives for ten minutes. A claim that is undefined is left out. */
  const sign = (key: IssuerKey, claims: Claims = {}, header: Claims = {}) => {
    const now = Math.floor(clock.wallMs() / 1000);
    const payload = { iss: server.url, aud: 'cambist', sub: 'alice', exp: now + 600, ...claims };
    return new SignJWT(payload)
      .setProtectedHeader({ alg: key.alg, ...(key.kid !== undefined && { kid: key.kid }), ...header })
      .sign(key.privateKey);
  };
  /** Signs such a token by the first key. */
  const token = (claims?: Claims, header?: Claims) => sign(first, claims, header);
  const verify = async (given: string | Promise<string> = token(), wanted = usual): Promise<void> =>
    verifier.verify(toSubject(await given), wanted);
  const issuer = {
    url: server.url,
    clock,
    /** The keys at `/jwks`. */
    keys: [first, ...others],
    /** Returned instead of the keys. */
    fault: undefined as Fault | undefined,
    /** Requested paths. */
    paths,
    rules,
    sign,
    token,
    verify,
    /** Asserts that `verify` fails. */
    refuses: (given: string | Promise<string>, message?: RegExp, code: ErrorCode = 'ERR_SUBJECT_TOKEN_INVALID') =>
      assert.rejects(verify(given), failsWith(code, message)),
    verifier,
    /** A test that creates its own verifier needs it. */
    pool,
  };
  return issuer;
}
