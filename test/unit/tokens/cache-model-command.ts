import fc from 'fast-check';
import type { Route } from '../../../src/config/route.ts';
import { assertInvariants, CALLERS, type Model, type Real, ROUTES } from './cache-model.ts';
import { settle } from './sample.ts';

export type Command = fc.AsyncCommand<Model, Real>;

/** A command that checks the invariants after each run. */
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

export interface Requester {
  readonly caller: string;
  readonly id: string | undefined;
  readonly route: Route;
}

/** Chooses the first value more often, so that callers meet. */
export function mostly<T>(first: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.constantFrom(...others.flatMap(() => first), first, ...others);
}

export const requester: fc.Arbitrary<Requester> = fc.record({
  caller: mostly(...(CALLERS as [string, ...string[]])),
  id: mostly<string | undefined>(undefined, 's1', 's2'),
  route: mostly(...(ROUTES as [Route, ...Route[]])),
});

export const nameOf = ({ caller, id, route }: Requester): string => `${caller}/${id ?? '-'} on ${route.name}`;
