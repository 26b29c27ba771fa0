import { LRUCache } from 'lru-cache';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/config.ts';
import { addDiagnosis, type LoadDiagnoses } from './diagnosis.ts';
import type { Subject } from './subject.ts';
import type { SubjectCheck } from './subject-check.ts';

/** A valid token is verified again after this time, so that a withdrawn key takes effect soon. */
const VERIFIED_LIFETIME_MS = 5 * 60 * 1000;
const MAX_VERIFIED = 10_000;

/** Verifies subject tokens by the rules of a route, and remembers valid ones. */
export interface SubjectVerifier {
  /**
   * Fetches the keys that a route needs, unless they are cached.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, or ERR_CREDENTIAL_UNAVAILABLE when the CA file cannot be read
   */
  prepare(rules: SubjectVerification): Promise<void>;
  /**
   * Returns undefined at once for a token that was verified recently.
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, or ERR_STS_UNAVAILABLE when the keys are unavailable
   */
  verify(subject: Subject, rules: SubjectVerification): undefined | Promise<void>;
}

/** Loaded at first use, because most configs verify no tokens. */
const loadCheck = () => import('./subject-check.ts');

/**
 * @param dispatcher gives the connection pool for the keys; `ca` is a PEM file
 * @param load may fail, for example without free file descriptors; the next use then tries again. Node 20 itself caches a failed
 *   import, Node 24 does not
 * @param diagnoses explain why a token is refused
 */
export function createSubjectVerifier(
  dispatcher: (rules: SubjectVerification) => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
  load: () => Promise<Pick<typeof import('./subject-check.ts'), 'createSubjectCheck'>> = loadCheck,
  diagnoses?: LoadDiagnoses,
): SubjectVerifier {
  let checking: SubjectCheck | undefined;
  /** Created at first use, because it allocates all its entries at once. */
  let verified: LRUCache<string, true> | undefined;
  const names = new WeakMap<SubjectVerification, string>();

  /** Routes with equal rules share results. */
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
    await (await loaded()).check(subject, rules).catch(async (error: unknown) => {
      const token = subject.token.reveal();
      await addDiagnosis(error, diagnoses, (catalogue, failure) => catalogue.verification({ rules, token, failure }));
      throw error;
    });
    verified ??= new LRUCache({
      max: MAX_VERIFIED,
      ttl: VERIFIED_LIFETIME_MS,
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
