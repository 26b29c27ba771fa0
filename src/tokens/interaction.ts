import type { ConsentRules } from '../config/route.ts';
import type { AuthenticationRequirements, CambistErrorOptions } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import { findRepeated, type SentValue } from './sent-values.ts';
import { type JsonObject, parseJsonObject, textOf } from './token-text.ts';

/** No known server names a longer URL. */
const MAX_LENGTH = 2048;

/** Each is compared with every credential of the request. */
const MAX_PARAMETERS = 32;

/** Parameters that carry a credential. A URL with one of them would sign in any person who opens it. */
const CREDENTIAL_PARAMETERS =
  /^(?:access_token|id_token|refresh_token|token|assertion|client_assertion|client_secret|password|subject_token|session_?id)$/i;

/**
 * Checks the URL at which an authorization server wants the user. A wrong one would lead users to an attacker's page, so that
 * only https and hosts of the operator's list pass.
 * @param sent values of the token request, of which the URL must contain none
 * @returns the URL, or why it is refused, without its path and query
 * @see MCP "Elicitation", security considerations
 */
export function readConsentUrl(
  text: string,
  hosts: readonly string[],
  sent: readonly SentValue[],
): { readonly url: string } | { readonly problem: string } {
  if (text.length > MAX_LENGTH || !/^[\x21-\x5b\x5d-\x7e]+$/.test(text) || !URL.canParse(text))
    return { problem: 'it is malformed' };
  const url = new URL(text);
  if (url.protocol !== 'https:') return { problem: 'it is not https' };
  if (url.username !== '' || url.password !== '') return { problem: 'it contains a user name or password' };
  if (!hosts.includes(url.host)) {
    return {
      problem: `its host "${redact(url.host)}" is not in interaction.hosts: add the host if users may consent there`,
    };
  }
  const parameters = [...url.searchParams.keys(), ...new URLSearchParams(url.hash.slice(1)).keys()];
  if (parameters.length > MAX_PARAMETERS) return { problem: 'it has too many parameters' };
  if (parameters.some((name) => CREDENTIAL_PARAMETERS.test(name))) return { problem: 'it contains a credential' };
  const credentials = sent.filter(({ isCredential }) => isCredential);
  const decoded = [url.href, ...url.searchParams.values()];
  if (decoded.some((part) => findRepeated(part, credentials) !== undefined)) {
    return { problem: 'it contains a credential of the token request' };
  }
  return { url: url.href };
}

/** The facts about a request that decide whether its user can act, and where. */
export interface InteractionFacts {
  /** Can a user change the response, by signing in again or by consent? False for a token of cambist's own client. */
  readonly actsForUser: boolean;
  /** The URLs at which the caller may be told to consent. Undefined: none. */
  readonly consent: ConsentRules | undefined;
  /** The values of the request. Credentials among them stay out of messages and URLs. */
  readonly sent: readonly SentValue[];
}

/** The user has to act before the server issues a token. */
interface Interaction {
  readonly code: 'ERR_INTERACTION_REQUIRED' | 'ERR_CONSENT_REQUIRED';
  readonly options: Pick<CambistErrorOptions, 'authentication' | 'claims' | 'consentUrl'>;
  /** Says in the log why the caller learns of no URL. */
  readonly note?: string;
}

/** Longest claims challenge that is passed on. It goes into a header, and is kept with the refusal. */
const MAX_CLAIMS_LENGTH = 4096;

/** Errors of vaults that have no token of the user yet (Auth0 Token Vault). */
const NOT_CONNECTED = /^(?:federated_connection_refresh_token_not_found|tokenset_not_found)$/;

/**
 * Recognizes the dialects in which servers ask for the user: Entra's claims, RFC 9470 as in the ID-JAG draft, Okta's
 * `interaction_uri`, and vaults without a connected account. Undefined for every other refusal.
 * @see RFC 9470, draft-ietf-oauth-identity-assertion-authz-grant section 4.4.3
 */
export function interactionOf(body: JsonObject, facts: InteractionFacts): Interaction | undefined {
  if (!facts.actsForUser) return undefined;
  const error = textOf(body.error);
  if (error === 'insufficient_user_authentication') {
    return { code: 'ERR_INTERACTION_REQUIRED', options: { authentication: authenticationOf(body) } };
  }
  if (NOT_CONNECTED.test(error)) return consent('', facts);
  const isConsent = error === 'consent_required' || textOf(body.suberror) === 'consent_required';
  if (error !== 'interaction_required' && !isConsent) return undefined;
  const claims = textOf(body.claims);
  if (claims.length <= MAX_CLAIMS_LENGTH && parseJsonObject(claims) !== undefined) {
    return { code: 'ERR_INTERACTION_REQUIRED', options: { claims } };
  }
  const url = textOf(body.interaction_uri);
  return url !== '' || facts.consent?.url !== undefined ? consent(url, facts) : undefined;
}

/** @param named URL of the server's response; empty if it names none */
function consent(named: string, { consent: rules, sent }: InteractionFacts): Interaction {
  const read = named === '' ? undefined : readConsentUrl(named, rules?.hosts ?? [], sent);
  const url = read !== undefined && 'url' in read ? read.url : rules?.url;
  const options = url === undefined ? {} : { consentUrl: () => url };
  if (read !== undefined && 'problem' in read) {
    return { code: 'ERR_CONSENT_REQUIRED', options, note: `its interaction_uri is not passed on: ${read.problem}` };
  }
  const note = "it names no interaction_uri: set the route's consent_url";
  return { code: 'ERR_CONSENT_REQUIRED', options, ...(url === undefined && { note }) };
}

/** Space-separated names, safe in a quoted string. */
const ACR_VALUES = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/;
const MAX_ACR_LENGTH = 1024;

/** Reads requirements that another server states. Undefined members are missing or malformed. */
export function authenticationOf({ acr_values: acr, max_age: age }: JsonObject): AuthenticationRequirements {
  const acrValues = textOf(acr);
  const maxAge = typeof age === 'string' && /^\d{1,10}$/.test(age) ? Number(age) : age;
  return {
    ...(acrValues.length <= MAX_ACR_LENGTH && ACR_VALUES.test(acrValues) && { acrValues }),
    ...(typeof maxAge === 'number' && Number.isSafeInteger(maxAge) && maxAge >= 0 && { maxAge }),
  };
}

/** The URL of a response, which a description may repeat, and which the log must not contain. */
export function urlsIn(body: JsonObject | undefined): SentValue[] {
  const value = textOf(body?.interaction_uri);
  return value === '' ? [] : [{ name: 'interaction_uri', value, isCredential: true }];
}
