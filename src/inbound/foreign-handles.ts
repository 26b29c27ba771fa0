import type { Clock } from '../clock/clock.ts';
import type { Inbound } from '../config/optional-sections.ts';
import { CambistError } from '../errors.ts';
import type { SharedHandles } from '../shared-cache/handles.ts';
import { toSubject } from '../tokens/subject.ts';
import type { SubjectVerifier } from '../tokens/subject-verifier.ts';
import { handleText } from './handle-text.ts';
import type { Handle, Handles } from './handles.ts';
import { notExpired } from './verify-caller.ts';

/** Resolves a handle that another replica gave. @returns undefined for an unknown or expired one */
export type FindForeignHandle = (text: string, peer: () => string | undefined) => Promise<Handle | undefined>;

export interface ForeignHandlesOptions {
  readonly shared: SharedHandles;
  readonly handles: Handles;
  readonly verifier: SubjectVerifier;
  readonly inbound: () => Inbound;
  readonly clock: Clock;
}

/** The token is verified here as well, because nothing from the shared cache is trusted. */
export function createForeignHandles(options: ForeignHandlesOptions): FindForeignHandle {
  const { shared, handles, verifier, inbound, clock } = options;
  return async (text, peer) => {
    const found = await shared.find(text);
    if (found === undefined || handleText(found.digest) !== text) return undefined;
    try {
      const subject = toSubject(found.token.reveal());
      await verifier.verify(subject, inbound().verify, peer);
      return handles.adopt(text, notExpired(subject, clock));
    } catch (error) {
      if (error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID') return undefined;
      throw error;
    }
  };
}
