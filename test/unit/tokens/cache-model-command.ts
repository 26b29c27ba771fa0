import fc from 'fast-check';
import type { Route } from '../../../src/config/config.ts';
import { assertInvariants, CALLERS, type Model, type Real, ROUTES } from './cache-model.ts';
import { settle } from './sample.ts';

export type Command = fc.AsyncCommand<Model, Real>;

/** A command whose every run ends with the invariants. */
export function command(name: string, run: (model: Model, real: Real) => Promise<void> | void): Command {
  return {
    check: () => true,
    toString: () => name,
    async run(model, real) {
      await run(model, real);
      await settle();
      assertInvariants(model, real);
    },
  };
}

export interface Who {
  readonly caller: string;
  readonly id: string | undefined;
  readonly route: Route;
}

/** The first of each comes more often, so that callers meet. */
export function mostly<T>(first: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.constantFrom(...others.flatMap(() => first), first, ...others);
}

export const who: fc.Arbitrary<Who> = fc.record({
  caller: mostly(...(CALLERS as [string, ...string[]])),
  id: mostly<string | undefined>(undefined, 's1', 's2'),
  route: mostly(...(ROUTES as [Route, ...Route[]])),
});

export const nameOf = ({ caller, id, route }: Who): string => `${caller}/${id ?? '-'} on ${route.name}`;
