import type { JWTPayload } from 'jose';
import type { CambistError } from '../errors.ts';

/** The codes of findings, by their subject. Codes are stable: scripts may rely on them. */
const CODES = [
  // connection to an authorization server or a backend
  'host_unknown connection_refused connection_timeout connection_failed certificate_untrusted',
  'certificate_wrong_name certificate_expired certificate_not_yet_valid client_certificate_required tls_failed',
  'tls_required backend_reached backend_silent backend_endpoint_missing backend_redirects cross_route_reference',
  'backend_error backend_open backend_not_mcp challenge_missing',
  // protected resource metadata of a backend
  'resource_matches resource_differs resource_not_requested backend_issuer_matches backend_issuer_differs',
  // metadata of an authorization server
  'metadata_found metadata_not_found metadata_unusable issuer_mismatch',
  // clocks
  'clock_agrees clock_skew',
  // cambist's own client and credentials
  'credential_unavailable client_accepted client_refused client_not_checked exchange_disabled any_subject_accepted',
  'server_unavailable',
  // keys that verify subject tokens
  'keys_found keys_unavailable introspection_works introspection_unusable transmitter_reached',
  'transmitter_unavailable',
  // subject token
  'subject_token_read subject_token_missing subject_token_unusable subject_token_expired subject_token_without_sub',
  'subject_token_revoked handle_missing subject_token_verified verify_issuer_differs verify_audience_differs',
  'verify_algorithm_refused verify_key_unknown verify_refused introspection_refused',
  // refused exchange: subject token
  'subject_audience_lacks_client subject_issuer_differs subject_token_refused subject_token_type_refused',
  'assertion_refused',
  // refused exchange: resource, audience and scope
  'audience_mapper_missing audience_unknown target_not_permitted target_refused resource_refused scope_format',
  'scope_missing scope_refused',
  // refused exchange: other parameters and policies
  'requested_token_type_refused actor_token_refused on_behalf_of_missing consent_missing user_consent_missing',
  'connection_refused_by_vault interaction_required access_denied caller_refused request_refused',
  // issued token
  'token_issued token_opaque token_ambiguous token_unchanged response_unusable audience_matches audience_wrong',
  'audience_broad audience_not_only audience_not_checked token_for_client token_expired token_not_yet_valid',
  'lifetime lifetime_short lifetime_unknown actor_missing scope_reduced',
  // calls with the issued token
  'call_accepted call_failed backend_refuses_audience backend_refuses_issuer backend_refuses_type',
  'backend_refuses_algorithm backend_refuses_key backend_refuses_scope backend_refuses_lifetime',
  'backend_wants_sign_in backend_refuses_token',
  // requests through a data plane
  'through_proved echo_unavailable echo_not_reached caller_token_forwarded issued_token_missing issued_token_shared',
  'undecided_request_passed duplicate_token_passed client_chose_route cambist_not_stopped',
  // in the log alone
  'session_unknown revocations_not_shared',
  // agent of `inbound`
  'agent_reached agent_unreachable agent_error',
  // shared cache
  'shared_cache_reached shared_cache_unavailable',
  // TLS of listeners
  'listener_certificate listener_files_invalid',
  // SPIFFE agent
  'spiffe_reached spiffe_unavailable',
  // trust folder of `intercept`
  'trust_folder_read trust_folder_missing trust_folder_broken trust_hosts_excluded trust_expected',
  // files of teams
  'team_files_valid team_file_invalid',
  // routes
  'secret_read backend_refuses_secret route_needs_no_token route_not_checked',
] as const;

/** The words of a text, as a union. */
type Words<Text extends string> = Text extends `${infer Word} ${infer Rest}` ? Word | Words<Rest> : Text;

export type FindingCode = Words<(typeof CODES)[number]>;

export const FINDING_CODES = CODES.join(' ').split(' ') as readonly FindingCode[];

/** `warning`: possibly wrong, or not checked. */
export type Severity = 'ok' | 'warning' | 'error';

export interface Finding {
  readonly severity: Severity;
  readonly code: FindingCode;
  /** The observation, in one sentence. */
  readonly what: string;
  readonly why?: string;
  readonly fix?: string;
  readonly claims?: JWTPayload;
}

/** The part of the config that a finding is about. */
export interface Component {
  readonly kind:
    | 'authorization_server'
    | 'issuer'
    | 'subject_token'
    | 'route'
    | 'team'
    | 'agent'
    | 'listener'
    | 'shared_cache'
    | 'spiffe'
    | 'secret'
    | 'trust';
  readonly name: string;
}

export type Check = Finding | readonly Finding[] | Promise<Finding | readonly Finding[]>;

/** Reports a check. @returns true if the component is usable. The checks go on with a wrong clock */
export type Report = (kind: Component['kind'], name: string, title: string, check: Check) => Promise<boolean>;

export function fine(code: FindingCode, what: string): Finding {
  return { severity: 'ok', code, what };
}

type Explanation = Pick<Finding, 'why' | 'fix'>;

export function warning(code: FindingCode, what: string, explanation: Explanation = {}): Finding {
  return { severity: 'warning', code, what, ...explanation };
}

export function problem(code: FindingCode, what: string, explanation: Explanation): Finding {
  return { severity: 'error', code, what, ...explanation };
}

export function credentialFinding(failure: CambistError): Finding {
  return problem('credential_unavailable', failure.message, {
    fix: 'provide it there, or run doctor where cambist runs, as the same user',
  });
}

/** Maximum length of shown text that comes from outside. */
const MAX_SHOWN_LENGTH = 300;

/** Text from outside, made safe for a terminal. It stays unredacted, so that an operator can compare it character by character. */
export function shortAscii(text: string): string {
  return text.slice(0, MAX_SHOWN_LENGTH).replace(/[^\x20-\x7e]/g, '?');
}

/** Writes the value of a claim, which may have any type, without quotes. */
export type ShowClaim = (value: unknown) => string;

/** Makes a text safe for a terminal, where an operator compares names character by character. */
export const showShortAscii: ShowClaim = (value) =>
  shortAscii(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));

/** A sentence names no more. A token may have thousands of audiences. */
const MAX_LISTED = 8;

/** Quotes names from outside for use in a sentence. Names in token claims may have any type. */
export function listed(names: readonly unknown[], show: ShowClaim = showShortAscii): string {
  if (names.length === 0) return 'none';
  const more = names.length > MAX_LISTED ? `, and ${names.length - MAX_LISTED} more` : '';
  return `${names
    .slice(0, MAX_LISTED)
    .map((name) => `"${show(name)}"`)
    .join(', ')}${more}`;
}
