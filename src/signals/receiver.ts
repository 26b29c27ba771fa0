import { hash, timingSafeEqual } from 'node:crypto';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Clock } from '../clock/clock.ts';
import type { ListenerTls } from '../config/addresses.ts';
import type { Transmitter } from '../config/signals.ts';
import { CambistError } from '../errors.ts';
import { clientCertificate } from '../listeners/client-certificates.ts';
import { NO_SCHEMAS } from '../listeners/listen.ts';
import { serverOptions } from '../listeners/tls.ts';
import { readCredential } from '../secrets/credential.ts';
import { InvalidSignal, malformed } from './events.ts';
import type { Source } from './source.ts';

/** A signal has one token of a few hundred bytes. */
const MAX_BODY_BYTES = 64 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const CHECK_INTERVAL_MS = 1000;

const SET_TYPE = 'application/secevent+jwt';
const CHALLENGE = 'Bearer realm="signals"';
const FORM_TYPE = 'application/x-www-form-urlencoded';

/**
 * Creates the listener for transmitters: `POST /events/NAME` (RFC 8935) and `POST /logout/NAME` (OpenID Connect Back-Channel
 * Logout 1.0). It says nothing about any caller.
 */
export function createReceiver(
  sources: ReadonlyMap<Transmitter, Source>,
  clock: Clock,
  tls?: ListenerTls,
): FastifyInstance {
  const app = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    bodyLimit: MAX_BODY_BYTES,
    // Node's default interval for finding slow requests is 30 seconds.
    ...serverOptions(tls, {
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
    }),
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser([SET_TYPE, FORM_TYPE], { parseAs: 'string' }, (_request, body, done) => done(null, body));
  // Fastify's own responses name the versions and limits of its parsers.
  app.setErrorHandler((error, _request, reply) =>
    error instanceof CambistError
      ? refuse(reply, 403, 'access_denied', 'the client certificate is not valid any more')
      : refuse(reply, 400, 'invalid_request', 'the request is malformed'),
  );
  app.setNotFoundHandler((_request, reply) => reply.code(404).send());
  app.addHook('onRequest', async ({ raw }) => void clientCertificate(raw.socket, clock.wallMs()));
  // A connection that waits for a second signal could keep others out. A stored response to a logout would hide the next one.
  app.addHook('onSend', async (_request, reply) => {
    reply.headers({ connection: 'close', 'cache-control': 'no-store' });
  });
  for (const [transmitter, source] of sources) {
    const { name, delivery, backchannelLogout } = transmitter;
    if (delivery === 'push') {
      app.post(`/events/${name}`, (request, reply) => push(transmitter, source, request, reply));
    }
    if (backchannelLogout) app.post(`/logout/${name}`, (request, reply) => logout(source, request, reply));
  }

  async function push(
    transmitter: Transmitter,
    { take, refused }: Source,
    request: FastifyRequest,
    reply: FastifyReply,
  ) {
    try {
      await authenticate(transmitter, request.headers.authorization);
      if (!isType(request, SET_TYPE)) throw malformed(`the content type is not ${SET_TYPE}`);
      const isShared = await take('push', String(request.body).trim());
      return isShared() ? reply.code(202).send() : unavailable(reply);
    } catch (error) {
      refused('push', error);
      if (!(error instanceof InvalidSignal)) return unavailable(reply);
      if (error.err !== 'authentication_failed') return refuse(reply, 400, error.err, error.message);
      // RFC 9110 section 15.5.2. The response does not name the configured scheme: a value without a scheme would be the secret itself.
      return refuse(reply.header('www-authenticate', CHALLENGE), 401, error.err, error.message);
    }
  }

  async function logout({ take, refused }: Source, request: FastifyRequest, reply: FastifyReply) {
    try {
      if (!isType(request, FORM_TYPE)) throw malformed(`the content type is not ${FORM_TYPE}`);
      const [token, ...more] = new URLSearchParams(String(request.body)).getAll('logout_token');
      if (token === undefined || more.length > 0) throw malformed('the form must have exactly one logout_token');
      // Providers do not repeat a logout, so it counts as done even if only this process knows it.
      await take('logout', token);
      return reply.code(200).send();
    } catch (error) {
      refused('logout', error);
      if (!(error instanceof InvalidSignal)) return unavailable(reply);
      return reply
        .code(400)
        .type('application/json')
        .send({ error: 'invalid_request', error_description: error.message });
    }
  }

  return app;
}

/** @throws {InvalidSignal} authentication_failed; {CambistError} ERR_CREDENTIAL_UNAVAILABLE */
async function authenticate({ name, authorization }: Transmitter, sent: string | undefined): Promise<void> {
  if (authorization === undefined) return;
  const expected = await readCredential(authorization, `authorization of transmitter "${name}"`);
  if (isSame(sent ?? '', expected.reveal().trim())) return;
  throw new InvalidSignal('authentication_failed', 'the Authorization header is not the configured one');
}

/** Compares in constant time: the digests have one length. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(hash('sha256', one, 'buffer'), hash('sha256', other, 'buffer'));
}

function isType({ headers }: FastifyRequest, type: string): boolean {
  return headers['content-type']?.split(';')[0]?.trim().toLowerCase() === type;
}

/** @see RFC 8935 section 2.3, which requires the language of the description */
function refuse(reply: FastifyReply, status: number, err: string, description: string) {
  return reply.code(status).type('application/json').header('content-language', 'en').send({ err, description });
}

/** Makes the transmitter retry. */
function unavailable(reply: FastifyReply) {
  return reply.code(503).header('retry-after', '5').send();
}
