import type { AuthorizationServer } from '../config/config.ts';
import { type Finding, fine, printable, warning } from './finding.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';
import { type MetadataLookup, unusableMetadata } from './unusable-metadata.ts';

const GRANT_TYPES = {
  token_exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
  jwt_bearer: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
} as const;

/**
 * What the answers to the requests for a server's metadata mean. Pure.
 * @param grant what the server is to be asked for; undefined: for tokens of our own alone
 * @param why the program's own verdict; undefined where it found what it needs
 */
export function metadataFindings(
  server: AuthorizationServer,
  grant: keyof typeof GRANT_TYPES | undefined,
  answers: readonly RecordedRequest[],
  why: string | undefined,
): Finding[] {
  if (why === undefined) return foundFindings(server, grant, answers);
  return [unusableMetadata(soughtOf(server), answers, why)];
}

/** Where the metadata came from, and what in it speaks against this config. */
function foundFindings(
  server: AuthorizationServer,
  grant: keyof typeof GRANT_TYPES | undefined,
  answers: readonly RecordedRequest[],
): Finding[] {
  const found = answers.findLast(({ status }) => status === 200);
  if (found === undefined) return [];
  const document = jsonBodyOf(found);
  const endpoint = printable(String(document.token_endpoint));
  const findings = [fine('metadata_found', `metadata at ${found.url}; its token endpoint is ${endpoint}`)];
  const grants = listOf(document.grant_types_supported);
  if (grant !== undefined && grants?.includes(GRANT_TYPES[grant]) === false) {
    findings.push(
      warning('grant_not_advertised', `the metadata does not list the grant ${GRANT_TYPES[grant]}`, {
        why: 'some servers list it only where it is switched on for the whole server, some never do',
        fix: 'switch token exchange on at the server, or set grant to one that it lists',
      }),
    );
  }
  const methods = listOf(document.token_endpoint_auth_methods_supported);
  const { method } = server.clientAuth;
  // An assertion that others made is, to the server, a signed one like any other.
  const asked = method === 'client_assertion' ? 'private_key_jwt' : method;
  if (methods?.includes(asked) === false) {
    findings.push(
      warning('auth_method_not_advertised', `the metadata does not list the client authentication "${asked}"`, {
        why: `it lists ${printable(methods.join(', '))}`,
        fix: `set ${place(server)}.client_auth.method to one of these`,
      }),
    );
  }
  return findings;
}

function soughtOf(server: AuthorizationServer): MetadataLookup {
  const at = place(server);
  return {
    issuer: server.issuer ?? '',
    place: at,
    endpoint: 'token_endpoint',
    allowInsecure: `${at}.allow_insecure_http: true`,
    allowInsecureHttp: server.allowInsecureHttp,
  };
}

/** Where a server stands in the config. */
export function place(server: AuthorizationServer): string {
  return `authorization_servers.${server.name}`;
}

function listOf(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : undefined;
}
