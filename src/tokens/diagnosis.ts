import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError, type Diagnosis } from '../errors.ts';
import type { HttpResponse } from './bounded-request.ts';
import type { SentValue } from './sent-values.ts';
import type { Grant, TokenRequest } from './token-request.ts';

/** A token request that produced no token. Contains tokens, and is never shown. */
export interface FailedTokenRequest {
  readonly server: AuthorizationServer;
  readonly request: TokenRequest;
  readonly grant: Grant;
  readonly url: string;
  readonly form: string;
  readonly sent: readonly SentValue[];
  /** Epoch milliseconds. */
  readonly failedAtMs: number;
  readonly response: HttpResponse | undefined;
  /** The error that the caller gets. */
  readonly failure: CambistError;
  /** The same exchange has succeeded for a caller. */
  readonly hasSucceeded: boolean;
}

export interface MetadataAttempt {
  readonly url: string;
  readonly response: HttpResponse | undefined;
  readonly error: unknown;
}

/** Metadata that could not be found or used. */
export interface FailedDiscovery {
  readonly server: AuthorizationServer;
  readonly attempts: readonly MetadataAttempt[];
  readonly message: string;
}

/** A subject token that the rules of its route refuse. Contains the token, and is never shown. */
export interface FailedVerification {
  readonly rules: SubjectVerification;
  readonly token: string;
  readonly failure: CambistError;
}

/** Explains failures of authorization servers, and of callers' tokens. Returns undefined where the error itself says everything. */
interface TokenDiagnoses {
  tokenRequest(failed: FailedTokenRequest): Diagnosis | undefined;
  discovery(failed: FailedDiscovery): Diagnosis | undefined;
  verification(failed: FailedVerification): Diagnosis | undefined;
}

/** Loads the catalogue at the first failure, because a healthy proxy never needs it. */
export type LoadDiagnoses = () => Promise<TokenDiagnoses>;

/** Adds the diagnosis to an error. Never throws: the error itself matters more than its explanation. */
export async function addDiagnosis<Catalogue>(
  error: unknown,
  load: (() => Promise<Catalogue>) | undefined,
  diagnose: (catalogue: Catalogue, error: CambistError) => Diagnosis | undefined,
): Promise<void> {
  if (load === undefined || !(error instanceof CambistError) || error.diagnosis !== undefined) return;
  try {
    error.diagnosis = diagnose(await load(), error);
  } catch {
    // A response that the catalogue cannot read stays unexplained.
  }
}
