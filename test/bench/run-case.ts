import type { Bounds, Case, Take } from './cases.ts';
import { type Contestant, type Entered, enter, type Ground, warm } from './contestants.ts';
import type { Sample } from './samples.ts';
import { rotated } from './statistics.ts';

/** A case with what its rounds found, and why some did not take part. */
export interface CaseResult {
  readonly name: string;
  readonly about: string;
  readonly contestants: readonly { readonly label: string; readonly samples: readonly Sample[] }[];
  readonly missing: readonly { readonly label: string; readonly why: string }[];
}

/** Measures all contestants in turn, round after round, in the same minutes. */
export async function runCase(which: Case, ground: Ground, bounds: Bounds): Promise<CaseResult> {
  const { name, about, contestants, rounds = bounds.rounds, take } = which;
  const missing = contestants.flatMap(({ label, peer }) => {
    const why = peer.missing();
    return why === undefined ? [] : [{ label, why }];
  });
  const present = contestants.filter(({ peer }) => peer.missing() === undefined);
  const samplers = await prepare(present, take, ground, bounds);
  const samples = new Map<Contestant, Sample[]>(present.map((contestant) => [contestant, []]));
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (const { contestant, sample } of rotated(samplers.list, round)) {
        samples.get(contestant)?.push(await sample());
      }
    }
  } finally {
    await samplers.close();
  }
  const found = present.map((contestant) => ({ label: contestant.label, samples: samples.get(contestant) ?? [] }));
  return { name, about, contestants: found, missing };
}

interface Samplers {
  readonly list: readonly { readonly contestant: Contestant; sample(): Promise<Sample> }[];
  close(): Promise<void>;
}

async function prepare(
  contestants: readonly Contestant[],
  take: Take,
  ground: Ground,
  bounds: Bounds,
): Promise<Samplers> {
  if (take.of === 'new') {
    const list = contestants.map((contestant) => ({
      contestant,
      sample: () => take.sample(contestant, ground, bounds),
    }));
    return { list, close: async () => {} };
  }
  const entered: Entered[] = [];
  const close = async (): Promise<void> => {
    await ground.far.release();
    await Promise.all(entered.map(({ proxy }) => proxy.close()));
  };
  try {
    for (const contestant of contestants) entered.push(await enter(contestant, ground));
    for (const one of entered) await warm(one, ground.far, bounds.warmSeconds);
  } catch (error) {
    await close();
    throw error;
  }
  const list = entered.map((one) => ({
    contestant: one.contestant,
    sample: () => take.sample(one, ground, bounds),
  }));
  return { list, close };
}
