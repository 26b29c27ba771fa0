import type { FastifyServerOptions } from 'fastify';

function refuse(): never {
  throw new Error('a Fastify route has a schema, but no schema compiler is loaded');
}

/**
 * Fastify's `schemaController` for servers whose routes have no schemas. Otherwise Fastify loads its schema compilers and Ajv. These
 * hundred files would delay the start and occupy memory, and the build does not contain them.
 * @see https://fastify.dev/docs/latest/Reference/Server/#schemacontroller
 */
export const NO_SCHEMAS: NonNullable<FastifyServerOptions['schemaController']> = {
  compilersFactory: { buildValidator: () => refuse, buildSerializer: () => refuse },
};
