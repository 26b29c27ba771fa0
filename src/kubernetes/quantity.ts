/** The factors of the suffixes, in the spelling of Kubernetes. */
const FACTORS: Readonly<Record<string, number>> = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
  Pi: 1024 ** 5,
};

/**
 * Parses a quantity such as `50m` or `128Mi`.
 * @returns undefined for an invalid quantity
 * @see https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */
export function quantityOf(text: string): number | undefined {
  const [, digits, suffix = ''] = /^((?:0|[1-9]\d{0,11})(?:\.\d{1,3})?)(m|[kMGTP]i?|Ki)?$/.exec(text) ?? [];
  const factor = FACTORS[suffix];
  return digits === undefined || factor === undefined ? undefined : Number(digits) * factor;
}
