import { describeError, type ErrorCode } from './error-catalogue.ts';

/** The probable cause of an error and its fix, from the catalogue of `cambist doctor`. Contains no secret and nothing unredacted. */
export interface Diagnosis {
  /** Code of the doctor's finding. */
  readonly finding: string;
  /** The event and its reason, as far as they are known. */
  readonly cause: string;
  readonly fix?: string | undefined;
}

const EXPIRED: Diagnosis = {
  finding: 'subject_token_expired',
  cause: "the caller's token is expired",
  fix: 'let the client of the agent obtain a new token before the old one expires. If each token is refused, compare the clocks of cambist and of the issuer',
};

/** The text for the caller of an error. Many clients show nothing else, so it contains the URL of a consent. */
export function detailOf({ code, expired, consentUrl, detail }: CambistError): string {
  if (expired) return "The caller's token is expired: obtain a new one.";
  if (consentUrl !== undefined)
    return `The user must consent before this proxy can get a token for this backend: open ${consentUrl()}`;
  return detail ?? describeError(code).detail;
}

/** The code of an error of Node or of a package, as in `ENOENT`. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** The facts of an error beside its message. `cause`: the caught error, which goes to the log only, redacted. */
export type CambistErrorOptions = Partial<Omit<CambistError, keyof Error | 'code' | 'status'>> & { cause?: unknown };

/** @see RFC 9470 section 3 */
export interface AuthenticationRequirements {
  /** Safe in a quoted string. */
  readonly acrValues?: string | undefined;
  /** Seconds. */
  readonly maxAge?: number | undefined;
}

/**
 * The only error that cambist throws deliberately. `message` is for the operator: what failed, which named thing, why, and how to
 * fix it. It may contain addresses and file names, so it goes to the log and never to the caller.
 */
export class CambistError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  /** Seconds after which the caller may retry; becomes `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;
  /** The claims challenge of the authorization server, as JSON; becomes `claims` of the 401 challenge. */
  readonly claims: string | undefined;
  /** The sign-in that the authorization server wants (RFC 9470 section 3); becomes parameters of the 401 challenge. */
  readonly authentication: AuthenticationRequirements | undefined;
  /** Returns the URL where the user consents. A function, so that it never prints. Only the caller concerned may see it. */
  readonly consentUrl: (() => string) | undefined;
  /** The caller's token is expired; becomes `detail` of the error, and `error_description` of the 401 challenge. */
  readonly expired: boolean = false;
  /** The text for the caller, in place of that of the code. */
  readonly detail: string | undefined;
  /** The team whose region has the request, where no route takes it. For the log, the audit trail and `tail`. */
  readonly team: string | undefined;
  /** The audience of the issued token, as far as it may be shown, for the audit trail and `tail`. */
  readonly issuedAudience: readonly string[] | undefined;
  /** The `error` of an OAuth error response (RFC 6749 section 5.2), for the log. */
  readonly oauthError: string | undefined;
  /** HTTP status of the authorization server's failed response. Undefined without a response. */
  readonly serverStatus: number | undefined;
  /** The `id` of a JSON-RPC response to the request, where the message was read. It is not logged. */
  readonly responseId: { readonly id?: string | number | null } | undefined;
  /** Added by the part that knows the request and response, for the log and the status page. */
  diagnosis: Diagnosis | undefined;

  constructor(code: ErrorCode, message: string, { cause, ...facts }: CambistErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CambistError';
    this.code = code;
    this.status = describeError(code).status;
    Object.assign(this, facts);
    if (this.expired) this.diagnosis ??= EXPIRED;
  }
}
