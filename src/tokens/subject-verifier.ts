import { LRUCache } from 'lru-cache';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/config.ts';
import type { Subject } from './subject.ts';
import type { SubjectCheck } from './subject-check.ts';

/** A token is verified once in this time, so that a key that was withdrawn counts soon. */
const VERIFIED_LIFE_MS = 5 * 60 * 1000;
const MAX_VERIFIED = 10_000;

/** Holds subject tokens to what a route wants of them. */
export interface SubjectVerifier {
  /**
   * Fetches the keys that a route needs, unless they are there.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, or ERR_CREDENTIAL_UNAVAILABLE where its CA cannot be read
   */
  prepare(rules: SubjectVerification): Promise<void>;
  /**
   * Returns at once for a token that was found good before.
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, or ERR_STS_UNAVAILABLE where the keys cannot be had
   */
  verify(subject: Subject, rules: SubjectVerification): undefined | Promise<void>;
}

/** Most configs verify nothing, so what verifies is loaded where something does. */
const loadCheck = () => import('./subject-check.ts');

/**
 * @param dispatcher gives the connection pool for the keys; `ca` is a PEM file
 * @param load where it fails, as for want of file descriptors, the next use tries again; Node 20 itself remembers that an import
 *   failed, Node 24 does not
 */
export function createSubjectVerifier(
  dispatcher: (rules: SubjectVerification) => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
  load: () => Promise<Pick<typeof import('./subject-check.ts'), 'createSubjectCheck'>> = loadCheck,
): SubjectVerifier {
  let checking: SubjectCheck | undefined;
  /** Made at the first use: it takes the room for all its entries at once. */
  let verified: LRUCache<string, true> | undefined;
  const names = new WeakMap<SubjectVerification, string>();

  /** What two routes want alike is verified once. */
  function nameOf(rules: SubjectVerification): string {
    let name = names.get(rules);
    if (name === undefined) {
      name = JSON.stringify(rules);
      names.set(rules, name);
    }
    return name;
  }

  async function loaded(): Promise<SubjectCheck> {
    if (checking !== undefined) return checking;
    const { createSubjectCheck } = await load();
    checking ??= createSubjectCheck(dispatcher, clock);
    return checking;
  }

  async function check(subject: Subject, rules: SubjectVerification, key: string): Promise<void> {
    await (await loaded()).check(subject, rules);
    verified ??= new LRUCache({
      max: MAX_VERIFIED,
      ttl: VERIFIED_LIFE_MS,
      ttlResolution: 0,
      perf: { now: () => clock.monotonicMs() },
    });
    verified.set(key, true);
  }

  return {
    prepare: async (rules) => (await loaded()).prepare(rules),
    verify(subject, rules) {
      const key = `${subject.digest}:${nameOf(rules)}`;
      return verified?.get(key) === true ? undefined : check(subject, rules, key);
    },
  };
}
