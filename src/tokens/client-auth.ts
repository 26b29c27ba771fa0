import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { type CredentialSource, currentCredential } from '../secrets/credential.ts';
import { oncePer, oncePerSecret, type Secret } from '../secrets/secret.ts';
import { readAssertion, signWithKey, signWithSecret } from './client-assertion.ts';
import { type FormField, formEncode, formField, type SentValue, sentInBasic } from './sent-values.ts';

/** The part of a token request that client authentication adds. */
export interface ClientAuthentication {
  readonly authorization: string | undefined;
  readonly fields: readonly FormField[];
  /** Values beside the form that the server knows: a response must not repeat them. */
  readonly sent: readonly SentValue[];
}

const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/**
 * Authenticates cambist's client to the token endpoint. Reads secrets, keys and assertions at each call, so that they can rotate.
 * Synchronous for a client secret in the header, unless its file has to be read or checked.
 * @param audience default `aud` of an assertion: the issuer, or else the token endpoint
 * @param credentialRead is called with the expiry of a credential that states it
 * @param issuedAssertion the assertion of another server, where the config names one
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
 * @see RFC 6749 section 2.3.1, RFC 7523 section 2.2, RFC 8705 section 2
 */
export function authenticateClient(
  server: AuthorizationServer,
  audience: string,
  clock: Clock,
  credentialRead: TokenObserver['credentialRead'] = () => {},
  issuedAssertion?: Secret,
): ClientAuthentication | Promise<ClientAuthentication> {
  const { clientAuth: auth } = server;
  if (auth.method !== 'client_secret_basic') {
    return authenticateInForm(server, auth, audience, clock, credentialRead, issuedAssertion);
  }
  const headerOf = headersOf(server);
  const secret = readClientSecret(auth.clientSecret, server);
  return secret instanceof Promise ? secret.then(headerOf) : headerOf(secret);
}

async function authenticateInForm(
  server: AuthorizationServer,
  auth: Exclude<AuthorizationServer['clientAuth'], { readonly method: 'client_secret_basic' }>,
  audience: string,
  clock: Clock,
  credentialRead: TokenObserver['credentialRead'],
  issuedAssertion: Secret | undefined,
): Promise<ClientAuthentication> {
  const clientId = server.clientId ?? '';
  switch (auth.method) {
    case 'none':
    // The connection presents the certificate. The form names the client.
    case 'tls_client_auth':
      return inForm(server.clientId === undefined ? [] : [formField('client_id', clientId)]);
    case 'client_secret_post':
      return inForm([
        formField('client_id', clientId),
        formField('client_secret', (await readClientSecret(auth.clientSecret, server)).reveal()),
      ]);
    case 'client_secret_jwt': {
      const secret = await readClientSecret(auth.clientSecret, server);
      const sent = [{ name: 'client_secret', value: secret.reveal(), isCredential: true }];
      return asserted(clientId, JWT_BEARER, await signWithSecret(secret, auth, server, audience, clock), sent);
    }
    case 'private_key_jwt':
      return asserted(clientId, JWT_BEARER, await signWithKey(auth, server, audience, clock, credentialRead));
    case 'client_assertion':
      return asserted(
        clientId,
        auth.clientAssertionType,
        issuedAssertion?.reveal() ?? (await readAssertion(auth, server, clock, credentialRead)),
      );
  }
}

function inForm(fields: readonly FormField[], sent: readonly SentValue[] = []): ClientAuthentication {
  return { authorization: undefined, fields, sent };
}

function asserted(
  clientId: string,
  type: string,
  assertion: string,
  sent: readonly SentValue[] = [],
): ClientAuthentication {
  const fields = [
    formField('client_id', clientId),
    formField('client_assertion_type', type),
    formField('client_assertion', assertion),
  ];
  return inForm(fields, sent);
}

function readClientSecret(source: CredentialSource, server: AuthorizationServer): Secret | Promise<Secret> {
  return currentCredential(source, `client secret of authorization server "${server.name}"`);
}

/** Creates the header of a server from its secret. It is cached until the secret or the config changes. */
const headersOf = oncePer((server: AuthorizationServer) => oncePerSecret((secret) => inHeader(server, secret)));

function inHeader({ clientId: id = '', clientAuth }: AuthorizationServer, secret: string): ClientAuthentication {
  const isRaw = 'basicEncoding' in clientAuth && clientAuth.basicEncoding === 'raw';
  const pair = isRaw ? `${id}:${secret}` : `${formEncode(id)}:${formEncode(secret)}`;
  const credentials = Buffer.from(pair, 'utf8').toString('base64');
  return { authorization: `Basic ${credentials}`, fields: [], sent: sentInBasic(credentials) };
}
