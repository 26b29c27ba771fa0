import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import { type InteractionFacts, interactionOf, urlsIn } from './interaction.ts';
import { isJsonObject, type JsonObject, textOf } from './json-object.ts';
import { hideCredentials, type SentValue } from './sent-values.ts';

/** The facts about a request that decide what its refusal means. */
export interface RefusalFacts extends InteractionFacts {
  /** For messages. */
  readonly serverName: string;
  /** Owner of the token or assertion in the request: cambist owns the assertion of a chain. */
  readonly credentialOwner: 'caller' | 'cambist';
}

/**
 * Maps a 4xx of a token endpoint to an error, by whose credential or configuration is at fault.
 * @see RFC 6749 section 5.2
 */
export function toRefusal(status: number, body: JsonObject | undefined, facts: RefusalFacts): CambistError {
  const { serverName, credentialOwner } = facts;
  const words = refusalWords(body);
  const interaction = body === undefined ? undefined : interactionOf(body, facts);
  const code = interaction?.code ?? codeOf(words, credentialOwner);
  const sent = [...facts.sent, ...urlsIn(body)];
  const reason = quoteWords(words, sent);
  const note = interaction?.note === undefined ? '' : `; ${interaction.note}`;
  return new CambistError(
    code,
    `authorization server "${serverName}" refused with ${status}${reason === '' ? '' : `, ${reason}`}${note}`,
    { oauthError: quote(words.error, sent), ...interaction?.options },
  );
}

/** The words of a refusal. Unredacted, for matching only. */
export interface RefusalWords {
  readonly error: string;
  readonly description: string;
}

/** Bounds the work of every expression that searches the words. No known server writes more. */
const MAX_LENGTH = 2048;

/** Reads the words of a refusal, shortened to their maximum. Google's `error` is an object: the code in `status`, the description in `message`. */
export function refusalWords(body: JsonObject | undefined): RefusalWords {
  const { error, error_description: description } = body ?? {};
  const [code, text] = isJsonObject(error) ? [error.status, error.message] : [error, description];
  return { error: textOf(code).slice(0, MAX_LENGTH), description: textOf(text).slice(0, MAX_LENGTH) };
}

/** Error and description without anything that may be a token. Safe to show. */
export function quoteWords({ error, description }: RefusalWords, sent: readonly SentValue[]): string {
  return [error, description]
    .filter((part) => part !== '')
    .map((part) => quote(part, sent))
    .join(': ');
}

function quote(text: string, sent: readonly SentValue[]): string {
  const hidden = hideCredentials(text, sent);
  if (text.length < MAX_LENGTH) return redact(hidden);
  // A shortened text may end within a credential.
  const longest = Math.max(0, ...sent.map(({ value }) => value.length));
  return redact(hidden.slice(0, Math.max(0, hidden.length - longest)));
}

type CredentialOwner = RefusalFacts['credentialOwner'];

function codeOf({ error, description }: RefusalWords, owner: CredentialOwner): ErrorCode {
  switch (error) {
    case 'invalid_grant':
    // Token endpoints do not define this error, but Keycloak's legacy exchange uses it for the subject token.
    case 'invalid_token':
      return credentialRefused(owner);
    case 'invalid_request':
      if (UNKNOWN_TARGET.test(description)) return 'ERR_EXCHANGE_REFUSED';
      return description === '' || namesSubject(description) ? credentialRefused(owner) : 'ERR_CLIENT_REFUSED';
    // Without a claim or a URL the user can only sign in again.
    case 'interaction_required':
      return credentialRefused(owner);
    case 'invalid_target':
    case 'invalid_scope':
    case 'access_denied':
      return 'ERR_EXCHANGE_REFUSED';
    case 'invalid_client':
      // Keycloak uses it for an unknown audience, too.
      return /audience not found/i.test(description) ? 'ERR_EXCHANGE_REFUSED' : 'ERR_CLIENT_REFUSED';
    default:
      return 'ERR_CLIENT_REFUSED';
  }
}

/** Descriptions by Keycloak and tokendings of a backend that is unknown, or that this client may not request. */
const UNKNOWN_TARGET =
  /requested audience not available|not authorized to get token with aud=|token exchange audience \S+ is invalid/i;

/**
 * Phrases in which "token" and "assertion" do not mean the subject token. A 401 for one of them would send the caller to a
 * useless login. The last phrase is how tokendings refuses a client assertion, with a percent-encoded reason.
 */
const NOT_THE_SUBJECT =
  /client[_ ]assertion\w*|actor[_ ]token\w*|(?:requested|subject)[_ ]token[_ ]type|token[ _-](?:exchange|endpoint|request)|^token verification failed: \S+$/gi;

function namesSubject(description: string): boolean {
  return /token|assertion/i.test(description.replace(NOT_THE_SUBJECT, ''));
}

/** The caller can replace its own token. A new login does not replace our credential, or the assertion of a chain. */
function credentialRefused(owner: CredentialOwner): ErrorCode {
  return owner === 'cambist' ? 'ERR_CLIENT_REFUSED' : 'ERR_SUBJECT_TOKEN_INVALID';
}
