import type { FastifyServerOptions } from 'fastify';

function refuse(): never {
  throw new Error('a route of Fastify has a schema, and there is nothing to compile it');
}

/**
 * Fastify's `schemaController` where no route has a schema. Fastify would load what compiles schemas, and with it Ajv, all
 * the same: a hundred files, which a start would wait for and memory keep, and which are not in the build.
 * @see https://fastify.dev/docs/latest/Reference/Server/#schemacontroller
 */
export const NO_SCHEMAS: NonNullable<FastifyServerOptions['schemaController']> = {
  compilersFactory: { buildValidator: () => refuse, buildSerializer: () => refuse },
};
