import { LRUCache } from 'lru-cache';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { Introspection, SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { oncePer } from '../secrets/secret.ts';
import { addDiagnosis, type LoadDiagnoses } from './diagnosis.ts';
import type { Introspected, Introspector } from './introspection.ts';
import type { Subject } from './subject.ts';
import type { SubjectCheck } from './subject-check.ts';

/** A valid token is verified again after this time, so that a withdrawn key takes effect soon. */
const VERIFIED_LIFETIME_MS = 5 * 60 * 1000;
/** A token that an introspection refused is not asked about again for this time. It hardly ever becomes active. */
const REFUSED_LIFETIME_MS = 10_000;
const MAX_VERIFIED = 10_000;
/** The cache holds this many characters of introspection results. Other entries count as one. */
const MAX_VERIFIED_LENGTH = 32 * 1024 * 1024;

/** `true` for a token that was verified by keys alone. */
type Result = true | Introspected | { readonly refusal: CambistError };

/** Routes with equal rules share results. */
const nameOf = oncePer((rules: SubjectVerification) => JSON.stringify(rules));

/** Loaded at first use, because most configs verify no tokens. */
const loadCheck = () => import('./subject-check.ts');

/** Verifies subject tokens by the rules of a route, and remembers the results. */
export type SubjectVerifier = ReturnType<typeof createSubjectVerifier>;

/**
 * @param dispatcher gives the connection pool for the keys; `ca` is a PEM file
 * @param introspector loads the part that asks authorization servers
 * @param load may fail, for example without free file descriptors; the next use then tries again. Node 20 itself caches a failed
 *   import, Node 24 does not
 */
export function createSubjectVerifier(
  dispatcher: (rules: SubjectVerification) => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
  introspector: () => Promise<Introspector>,
  diagnoses?: LoadDiagnoses,
  load: () => Promise<Pick<typeof import('./subject-check.ts'), 'createSubjectCheck'>> = loadCheck,
) {
  let checking: SubjectCheck | undefined;
  /** Created at first use, because it allocates all its entries at once. */
  let verified: LRUCache<string, Result> | undefined;

  async function loaded(): Promise<SubjectCheck> {
    if (checking !== undefined) return checking;
    const { createSubjectCheck } = await load();
    checking ??= createSubjectCheck(dispatcher, clock);
    return checking;
  }

  function remember(key: string, result: Result, ttl = VERIFIED_LIFETIME_MS): void {
    // The library takes 0 for a lifetime without end.
    if (ttl < 1) return;
    verified ??= new LRUCache({
      max: MAX_VERIFIED,
      maxSize: MAX_VERIFIED_LENGTH,
      sizeCalculation: (value) => (value !== true && 'length' in value ? Math.max(1, value.length) : 1),
      ttl: VERIFIED_LIFETIME_MS,
      ttlResolution: 0,
      perf: { now: () => clock.monotonicMs() },
    });
    verified.set(key, result, { ttl: Math.floor(ttl) });
  }

  async function checkKeys(subject: Subject, rules: SubjectVerification): Promise<void> {
    await (await loaded()).check(subject, rules).catch(async (error: unknown) => {
      const token = subject.token.reveal();
      await addDiagnosis(error, diagnoses, (catalogue, failure) => catalogue.verification({ rules, token, failure }));
      throw error;
    });
  }

  async function introspect(
    subject: Subject,
    rules: SubjectVerification,
    introspection: Introspection,
    peer: (() => string | undefined) | undefined,
    key: string,
  ): Promise<void> {
    try {
      const result = await (await introspector()).introspect(subject, rules, introspection, peer?.());
      const { expiresAtMs = Number.POSITIVE_INFINITY } = result;
      remember(key, result, Math.min(introspection.cacheMs, expiresAtMs - clock.wallMs()));
      learn(subject, result);
    } catch (error) {
      if (error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID') {
        remember(key, { refusal: error }, REFUSED_LIFETIME_MS);
      }
      throw error;
    }
  }

  async function check(
    subject: Subject,
    rules: SubjectVerification,
    peer: (() => string | undefined) | undefined,
    key: string,
  ): Promise<void> {
    const { introspection, jwksUri } = rules;
    // Keys are cheaper than a request: with both, made-up tokens never get to the authorization server.
    if (introspection === undefined || jwksUri !== undefined) await checkKeys(subject, rules);
    if (introspection === undefined) remember(key, true);
    else await introspect(subject, rules, introspection, peer, key);
  }

  return {
    /**
     * Fetches what a route needs, unless it is cached: keys, or the introspection endpoint.
     * @throws {CambistError} ERR_STS_UNAVAILABLE, or ERR_CREDENTIAL_UNAVAILABLE when the CA file cannot be read
     */
    async prepare(rules: SubjectVerification): Promise<void> {
      const { introspection, jwksUri } = rules;
      if (introspection === undefined || jwksUri !== undefined) await (await loaded()).prepare(rules);
      if (introspection !== undefined) await (await introspector()).prepare(introspection);
    },
    /**
     * Returns undefined at once for a token that was verified recently. With introspection, the subject then has the claims that
     * the authorization server stated.
     * @param peer returns the address that the caller connects from
     * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, or ERR_STS_UNAVAILABLE when keys or introspection are unavailable
     */
    verify(subject: Subject, rules: SubjectVerification, peer?: () => string | undefined): undefined | Promise<void> {
      const key = `${subject.digest}:${nameOf(rules)}`;
      const known = verified?.get(key);
      if (known === true) return undefined;
      if (known === undefined) return check(subject, rules, peer, key);
      if ('refusal' in known) throw known.refusal;
      learn(subject, known);
      return undefined;
    },
    forget(digests: ReadonlySet<string>): void {
      for (const key of [...(verified?.keys() ?? [])]) {
        if (digests.has(key.slice(0, key.indexOf(':')))) verified?.delete(key);
      }
    },
  };
}

/** The token may also state an expiry itself, and the earlier one counts. */
function learn(subject: Subject, { claims, expiresAtMs }: Introspected): void {
  if (subject.introspected === claims) return;
  subject.introspected = claims;
  if (expiresAtMs === undefined) return;
  subject.expiresAtMs = Math.min(subject.expiresAtMs ?? Number.POSITIVE_INFINITY, expiresAtMs);
}
