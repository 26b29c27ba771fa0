import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import type { SharedHandles } from '../shared-cache/handles.ts';
import { toSubject } from '../tokens/subject.ts';
import type { SubjectVerifier } from '../tokens/subject-verifier.ts';
import { handleText } from './handle-text.ts';
import type { Handle, Handles } from './handles.ts';
import { notExpired, verifyInForce } from './verify-caller.ts';

/** Resolves a handle that another replica gave. @returns undefined for an unknown or expired one */
export type FindForeignHandle = (text: string, peer: () => string | undefined) => Promise<Handle | undefined>;

export interface ForeignHandlesOptions {
  readonly shared: SharedHandles;
  readonly handles: Handles;
  readonly verifier: SubjectVerifier;
  /** Returns `inbound.verify` of the active config. */
  readonly rules: () => SubjectVerification;
  readonly clock: Clock;
}

/** The token is verified here as well, because nothing from the shared cache is trusted. */
export function createForeignHandles(options: ForeignHandlesOptions): FindForeignHandle {
  const { shared, handles, verifier, rules, clock } = options;
  return async (text, peer) => {
    const found = await shared.find(text);
    if (found === undefined || handleText(found.digest) !== text) return undefined;
    try {
      const subject = toSubject(found.token.reveal());
      await verifyInForce(verifier, subject, rules, peer);
      return handles.adopt(text, notExpired(subject, clock));
    } catch (error) {
      if (error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID') return undefined;
      throw error;
    }
  };
}
