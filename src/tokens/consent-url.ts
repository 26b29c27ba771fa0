import { redact } from '../observability/logged-error.ts';
import { findRepeated, type SentValue } from './sent-values.ts';

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
