import type { Bounds, Case, Take } from './cases.ts';
import { type Contestant, type Environment, type StartedContestant, startContestant, warm } from './contestants.ts';
import { whyNoImage } from './image.ts';
import type { Sample } from './samples.ts';
import { rotated } from './statistics.ts';

/** The samples of a case, and the contestants that are missing. */
export interface CaseResult {
  readonly name: string;
  readonly about: string;
  readonly contestants: readonly { readonly label: string; readonly samples: readonly Sample[] }[];
  readonly missing: readonly { readonly label: string; readonly why: string }[];
}

/** Starts all contestants, and measures them in turn, round after round. */
export async function runCase(benchCase: Case, environment: Environment, bounds: Bounds): Promise<CaseResult> {
  const { name, about, contestants, rounds = bounds.rounds, take } = benchCase;
  const reasons = contestants.map((contestant) => whyMissing(contestant, environment));
  const missing = contestants.flatMap(({ label }, i) => {
    const why = reasons[i];
    return why === undefined ? [] : [{ label, why }];
  });
  const present = contestants.filter((_, i) => reasons[i] === undefined);
  const samplers = await prepare(present, take, environment, bounds);
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

function whyMissing({ peer, asImage }: Contestant, { node }: Environment): string | undefined {
  return peer.missing(node) ?? (asImage && whyNoImage(node));
}

async function prepare(contestants: readonly Contestant[], take: Take, environment: Environment, bounds: Bounds) {
  if (take.of === 'new') {
    const list = contestants.map((contestant) => ({
      contestant,
      sample: () => take.sample(contestant, environment, bounds),
    }));
    return { list, close: async () => {} };
  }
  const started: StartedContestant[] = [];
  const close = async (): Promise<void> => {
    await environment.load.release();
    await Promise.all(started.map(({ proxy }) => proxy.close()));
  };
  try {
    for (const contestant of contestants) started.push(await startContestant(contestant, environment));
    for (const one of started) await warm(one, environment.load, bounds.warmSeconds);
  } catch (error) {
    await close();
    throw error;
  }
  const list = started.map((one) => ({
    contestant: one.contestant,
    sample: () => take.sample(one, environment, bounds),
  }));
  return { list, close };
}
