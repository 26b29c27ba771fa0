import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LOG_LEVELS } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { isLocalSender } from '../listeners/this-machine.ts';
import type { LogLevelControl } from '../observability/log-level.ts';
import { readHost } from '../routing/request-target.ts';
import type { SignalsSide } from '../signals/signals.ts';

/** `{"level":"debug"}` with room for spaces. */
const MAX_LEVEL_BYTES = 256;

/**
 * Adds `GET /log-level` and `PUT /log-level`. Besides `POST /revoke`, the latter is the only request to the admin listener that changes
 * something. It is for programs on this machine and for the status page, never for other web pages.
 * @param hosts public names of the admin listener, in lower case
 */
export function addLogLevel(app: FastifyInstance, control: LogLevelControl, hosts: () => readonly string[]): void {
  const shown = () => ({ level: control.level, configured: control.configured });
  app.get('/log-level', shown);
  // Only application/json: a web page cannot send it to another origin without a preflight, which gets no permission here.
  app.removeContentTypeParser('text/plain');
  app.put('/log-level', {
    bodyLimit: MAX_LEVEL_BYTES,
    onRequest: onlyLocal(hosts),
    errorHandler: (error, _request, reply) => {
      const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
      const hint = status === 415 ? 'the content type must be application/json' : INVALID;
      return reply.code(status).send({ error: hint });
    },
    handler: (request, reply) => {
      const level = readLevel(request.body);
      if (level === undefined) return reply.code(400).send({ error: INVALID });
      if (!control.change(level)) {
        return reply.code(400).send({
          error: `the configured level is ${control.configured}, and fewer lines are not allowed: set log.level in the config`,
        });
      }
      return shown();
    },
  });
}

const INVALID = `the body must be {"level":"…"} with one of ${LOG_LEVELS.join(', ')}`;

function readLevel(body: unknown) {
  if (typeof body !== 'object' || body === null || !('level' in body) || Object.keys(body).length > 1) return undefined;
  return LOG_LEVELS.find((level) => level === body.level);
}

const MAX_TOKEN_BYTES = 8 * 1024;
const LOGOUT_TOKEN = 'application/logout+jwt';

/**
 * Adds `POST /revoke`, which takes the logout token of `cambist revoke`. The agent reaches this listener too, and has no key to sign one.
 */
export function addRevoke(
  app: FastifyInstance,
  revoke: NonNullable<SignalsSide['revoke']>,
  hosts: () => readonly string[],
): void {
  app.addContentTypeParser(LOGOUT_TOKEN, { parseAs: 'string' }, (_request, body, done) => done(null, body));
  app.post('/revoke', {
    bodyLimit: MAX_TOKEN_BYTES,
    onRequest: onlyLocal(hosts),
    errorHandler: (_error, _request, reply) =>
      reply.code(400).send({ error: `the body must be a token, of type ${LOGOUT_TOKEN}` }),
    handler: (request, reply) =>
      revoke(String(request.body)).catch((error: unknown) =>
        error instanceof CambistError
          ? reply.code(503).send({ error: 'the secret of signals.revoke cannot be read: see the log' })
          : reply.code(403).send({ error: `the token is refused: ${(error as Error).message}` }),
      ),
  });
}

/** Refuses other machines, and web pages of another origin, also after DNS rebinding. */
function onlyLocal(hosts: () => readonly string[]) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const problem = whyRefused(request, hosts());
    if (problem !== undefined) await reply.code(403).send({ error: problem });
  };
}

function whyRefused({ server, socket, headers }: FastifyRequest, hosts: readonly string[]): string | undefined {
  if (!isLocalSender(socket.remoteAddress, server.server.address()))
    return 'the request is possible from loopback only';
  const host = readHost(headers.host);
  if (host === undefined || !(isLoopbackHost(host) || hosts.includes(host))) {
    return 'the Host of the request must be a loopback address, localhost, or a name in admin_hosts';
  }
  const { origin } = headers;
  const site = headers['sec-fetch-site'];
  const isOwn = origin === undefined || originHost(origin) === headers.host?.toLowerCase();
  if (!isOwn || !(site === undefined || site === 'same-origin')) return 'the request comes from another origin';
  return undefined;
}

/** Returns `host[:port]`, unless the origin is opaque. */
function originHost(origin: string): string | undefined {
  return /^https?:\/\/([^/?#@]+)$/.exec(origin.toLowerCase())?.[1];
}

function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
