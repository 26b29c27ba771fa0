/** Set by `npm run test:properties`, which tries more inputs than `npm test` has time for. */
const FACTOR = Number(process.env.PROPERTY_FACTOR ?? 1);

/** The number of runs of a slow property. */
export function propertyRuns(usual: number): number {
  return usual * FACTOR;
}
