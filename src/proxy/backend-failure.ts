import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import type { CambistError, Diagnosis } from '../errors.ts';
import { addDiagnosis } from '../tokens/diagnosis.ts';
import type { BackendReason } from './challenges.ts';
import type { RefusedResponse } from './refused-response.ts';
import { refusedToken, upstreamError } from './upstream-error.ts';

/** A token that a backend refuses. Contains the token, and is never shown. */
export interface RefusedToken extends BackendReason {
  readonly authorization: string;
  /** The `Date` header of the response. */
  readonly date: string | undefined;
  /** Epoch milliseconds when the response arrived. */
  readonly receivedAtMs: number;
}

/** Explains failures of backends. Returns undefined where the error itself says everything. */
export interface BackendDiagnoses {
  refusedToken(refused: RefusedToken): Diagnosis | undefined;
  unreachable(route: Route, error: Error): Diagnosis | undefined;
}

export interface DiagnosisOptions {
  readonly clock: Clock;
  /** Loads the catalogue, at the first failure. Undefined: nothing explains failures. */
  readonly diagnoses?: (() => Promise<BackendDiagnoses>) | undefined;
}

/**
 * Makes the error for a token that the backend refuses, with the backend's reason.
 * @param ending of the sentence: the reason for making no further attempt
 */
export async function explainRefusal(
  route: Route,
  ending: string,
  response: RefusedResponse,
  { clock, diagnoses }: DiagnosisOptions,
): Promise<CambistError> {
  const receivedAtMs = clock.wallMs();
  const reason = await response.reason();
  const authorization = response.token.authorization.reveal();
  const refused = { ...reason, date: response.date, receivedAtMs, authorization };
  const error = refusedToken(route, ending, refused);
  // The catalogue knows issued tokens only.
  if (route.credential.kind !== 'secret') {
    await addDiagnosis(error, diagnoses, (catalogue) => catalogue.refusedToken(refused));
  }
  return error;
}

/** Turns an error of the upstream's connection into the error for the caller, with its cause. */
export async function explainUnreachable(
  caught: Error,
  route: Route,
  { diagnoses }: DiagnosisOptions,
): Promise<CambistError> {
  const error = upstreamError(caught, route);
  const isConnection = error.code === 'ERR_UPSTREAM_UNREACHABLE' || error.code === 'ERR_UPSTREAM_TLS';
  if (isConnection) await addDiagnosis(error, diagnoses, (catalogue) => catalogue.unreachable(route, caught));
  return error;
}
