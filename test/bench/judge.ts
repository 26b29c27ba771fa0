import type { CaseResult } from './run-case.ts';
import { type Interval, medianInterval, pairedRatios } from './statistics.ts';

export const MAX_RATIO = 1.1;

/** The figures that are compared: of a call, or of a start. */
const COMPARED = ['CPU µs each', 'CPU ms until ready'] as const;

/** The CPU of a case relative to another build. */
type Judgement = ReturnType<typeof judge>;

/**
 * Judges a case whose contestants are pairs: a process of this build, a process of the other, and so on. Two processes of the same
 * build can differ by chance for as long as they live. A case is therefore worse only if all rounds say so with confidence, and
 * each pair says so by its median.
 */
export function judge({ name, contestants }: CaseResult) {
  const ratios = [];
  for (let i = 0; i + 1 < contestants.length; i += 2) {
    const [ours, theirs] = [cpuOf(contestants[i]), cpuOf(contestants[i + 1])];
    if (ours !== undefined && theirs !== undefined) ratios.push(pairedRatios(ours, theirs));
  }
  const pairs = ratios.map(medianInterval);
  const ratio = ratios.length === 0 ? undefined : medianInterval(ratios.flat());
  const isWorse = ratio !== undefined && ratio.low > MAX_RATIO && pairs.every(({ median }) => median > MAX_RATIO);
  return { name, ratio, pairs, isWorse };
}

function cpuOf(contestant: CaseResult['contestants'][number] | undefined): number[] | undefined {
  const samples = contestant?.samples ?? [];
  for (const figure of COMPARED) {
    const values = samples.map((sample) => sample[figure]).filter((value) => value !== undefined);
    if (values.length > 0 && values.length === samples.length) return values;
  }
  return undefined;
}

export function formatJudgement({ name, ratio, pairs, isWorse }: Judgement): string {
  if (ratio === undefined) return `${name}: not compared: no figure of CPU`;
  const each = pairs.length < 2 ? '' : `; pairs ${pairs.map(formatInterval).join(', ')}`;
  return `${name}: ${formatInterval(ratio)}${each}${isWorse ? ' WORSE' : ''}`;
}

function formatInterval({ median, low, high }: Interval): string {
  return `${median.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`;
}
