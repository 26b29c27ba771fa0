import type { FastifyInstance } from 'fastify';
import { CambistError } from '../errors.ts';
import type { SignalsSide } from '../signals/signals.ts';
import { whyRefused } from './put-log-level.ts';

const MAX_BODY_BYTES = 8 * 1024;
const TYPE = 'application/logout+jwt';

/**
 * Adds `POST /revoke`, which takes the logout token of `cambist revoke`. The agent reaches this listener too, and has no key to sign one.
 */
export function addRevoke(
  app: FastifyInstance,
  revoke: NonNullable<SignalsSide['revoke']>,
  hosts: () => readonly string[],
): void {
  app.addContentTypeParser(TYPE, { parseAs: 'string' }, (_request, body, done) => done(null, body));
  app.post('/revoke', {
    bodyLimit: MAX_BODY_BYTES,
    onRequest: async (request, reply) => {
      const problem = whyRefused(request, hosts());
      if (problem !== undefined) await reply.code(403).send({ error: problem });
    },
    errorHandler: (_error, _request, reply) =>
      reply.code(400).send({ error: `the body must be a token, of type ${TYPE}` }),
    handler: (request, reply) =>
      revoke(String(request.body)).catch((error: unknown) =>
        error instanceof CambistError
          ? reply.code(503).send({ error: 'the secret of signals.revoke cannot be read: see the log' })
          : reply.code(403).send({ error: `the token is refused: ${(error as Error).message}` }),
      ),
  });
}
