import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { BUILT_PROGRAM } from '../harness/run-command.ts';
import { type Bounds, type Case, createPeers, listCases } from './cases.ts';
import { type Contestant, type Environment, startContestant, withEnvironment } from './contestants.ts';
import { formatJudgement, judge, MAX_RATIO } from './judge.ts';
import { buildCommit, isSameBuild, type OtherBuild } from './other-build.ts';
import { type CaseResult, runCase } from './run-case.ts';

/** Short rounds, so that both builds meet the same disturbances. */
export const SHORT: Bounds = { rounds: 24, seconds: 0.12, warmSeconds: 0.8, memoryRequests: 0 };
/** Processes of each build that run at the same time. */
const PROCESSES = 2;
/** The cases that are compared unless others are named. */
export const USUAL_CASES: readonly string[] = ['call', 'uncached', 'start'];

/**
 * V8 gets the same seed for hash tables and random numbers in each process. Pretenuring is off, because it makes some processes
 * slow by chance (see lessons.md).
 */
const STEADY_FLAGS = ['--hash-seed=1', '--random-seed=1', '--no-allocation-site-pretenuring'];

export interface Comparison {
  readonly against: string;
  readonly names: readonly string[];
  readonly bounds: Bounds;
  readonly node: string;
  readonly json: boolean;
}

/**
 * Compares this build with another, and reports the ratios of their CPU.
 * @returns the exit code: 1 if this build is worse in a case, twice
 */
export async function compareBuilds({ against, names, bounds, node, json }: Comparison): Promise<number> {
  const tell = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);
  const folder = mkdtempSync(join(tmpdir(), 'cambist-other-build-'));
  try {
    const other: OtherBuild = /\.[cm]?js$/.test(against)
      ? { name: against, program: resolve(against) }
      : buildCommit(against, folder);
    if ('why' in other) {
      tell(`not compared: ${other.why}`);
      return 0;
    }
    if (isSameBuild(dirname(BUILT_PROGRAM), dirname(other.program))) {
      tell(`not compared: ${other.name} has the same build`);
      return 0;
    }
    return await withEnvironment(node, async (environment) => {
      const cases = pairCases(names, other.program);
      const why = await whyNotStarted(cases, environment);
      if (why !== undefined) {
        tell(`not compared: ${other.name} does not run here: ${why}`);
        return 0;
      }
      tell(`CPU of this build ÷ ${other.name}: medians of paired rounds, with their 95 % intervals`);
      const first = await measure(cases, environment, bounds, tell);
      if (json) process.stdout.write(`${JSON.stringify(first, null, 1)}\n`);
      const suspects = cases.filter((_, i) => judge(first[i] as CaseResult).isWorse);
      if (suspects.length === 0) {
        tell('no case is worse');
        return 0;
      }
      tell('again with new processes, because a process can be slow by chance');
      const second = await measure(suspects, environment, bounds, tell);
      const isWorse = second.some((result) => judge(result).isWorse);
      tell(isWorse ? `worse by more than ${Math.round(100 * (MAX_RATIO - 1))} %` : 'not worse in the second run');
      return isWorse ? 1 : 0;
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A contestant of each case, from this build and the other in turn. As in the image, only this build would have V8's code cache. */
function pairCases(names: readonly string[], program: string): Case[] {
  const ours = listCases(createPeers({ nodeFlags: STEADY_FLAGS }));
  const theirs = listCases(createPeers({ nodeFlags: STEADY_FLAGS, program }));
  return ours.flatMap((benchCase, i) => {
    if (!names.includes(benchCase.name)) return [];
    const at = benchCase.contestants.findIndex(({ asImage }) => asImage === undefined);
    const pair = [benchCase.contestants[at], theirs[i]?.contestants[at]] as Contestant[];
    // A process that is new for each sample needs no second one.
    const count = benchCase.take.of === 'new' ? 1 : PROCESSES;
    // Contestants are told apart by identity.
    const contestants = Array.from({ length: count }, () => pair.map((one) => ({ ...one }))).flat();
    return [{ ...benchCase, contestants }];
  });
}

/** An earlier build may not know the config that the bench writes today. */
async function whyNotStarted(cases: readonly Case[], environment: Environment): Promise<string | undefined> {
  for (const { contestants } of cases) {
    const theirs = contestants[1] as Contestant;
    const missing = theirs.peer.missing(environment.node);
    if (missing !== undefined) return missing;
    try {
      const { proxy } = await startContestant(theirs, environment);
      await proxy.close();
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
  return undefined;
}

async function measure(
  cases: readonly Case[],
  environment: Environment,
  bounds: Bounds,
  tell: (text: string) => void,
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  for (const benchCase of cases) {
    const rounds = benchCase.take.of === 'new' ? Math.ceil(bounds.rounds / PROCESSES) : bounds.rounds;
    const once = (): Promise<CaseResult> => runCase({ ...benchCase, rounds }, environment, bounds);
    // A machine that is too busy can make a start or a call time out. A fault of the build does so again.
    const result = await once().catch((error: unknown) => {
      tell(`${benchCase.name}: again, because it failed: ${error instanceof Error ? error.message : error}`);
      return once();
    });
    tell(formatJudgement(judge(result)));
    results.push(result);
  }
  return results;
}
