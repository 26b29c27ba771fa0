import { type AuthorizationServer, JWT_SPIFFE } from '../config/authorization-server.ts';
import { endpointProblem } from '../tokens/discovery.ts';
import { type Finding, fine, problem, shortAscii, warning } from './finding.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';
import { serverPath } from './unreachable.ts';

interface MetadataLookup {
  readonly issuer: string;
  /** Path in the config, as in `authorization_servers.main`. It has the keys `issuer` and that of the endpoint. */
  readonly path: string;
  readonly endpoint: 'token_endpoint' | 'jwks_uri';
  /** The setting that allows a plain http endpoint, as in `authorization_servers.main.allow_insecure_http: true`. */
  readonly allowInsecure: string;
  readonly allowInsecureHttp: boolean;
}

type MetadataResponse = Pick<RecordedRequest, 'url' | 'status' | 'text'>;

const GRANT_TYPES = {
  token_exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
  jwt_bearer: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
  token_vault: 'urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token',
} as const;

export function lookupOf(server: AuthorizationServer): MetadataLookup {
  const path = serverPath(server);
  return {
    issuer: server.issuer ?? '',
    path,
    endpoint: 'token_endpoint',
    allowInsecure: `${path}.allow_insecure_http: true`,
    allowInsecureHttp: server.allowInsecureHttp,
  };
}

/**
 * Compares a server's metadata with the config.
 * @param grant undefined if no route exchanges a caller's token there
 */
export function metadataFindings(
  server: AuthorizationServer,
  grant: AuthorizationServer['grant'] | undefined,
  requests: readonly RecordedRequest[],
): Finding[] {
  const found = requests.findLast(({ status }) => status === 200);
  if (found === undefined) return [];
  const document = jsonBodyOf(found);
  const endpoint = shortAscii(String(document.token_endpoint));
  return [
    fine('metadata_found', `metadata found at ${found.url}; the token endpoint is ${endpoint}`),
    grant && grantFinding(document, grant),
    authMethodFinding(document, server),
  ].filter((finding) => finding !== undefined);
}

type Document = Readonly<Record<string, unknown>>;

function grantFinding(document: Document, grant: AuthorizationServer['grant']): Finding | undefined {
  const grantType = GRANT_TYPES[grant];
  if (listOf(document.grant_types_supported)?.includes(grantType) !== false) return undefined;
  return warning('grant_not_advertised', `the metadata does not list the grant ${grantType}`, {
    why: 'some servers list it only if it is enabled for the whole server, and some never do',
    fix: 'enable token exchange at the server, or set grant to one that it lists',
  });
}

function authMethodFinding(document: Document, server: AuthorizationServer): Finding | undefined {
  const listed = listOf(document.token_endpoint_auth_methods_supported);
  const accepted = authMethodNames(server);
  if (listed === undefined || accepted.some((method) => listed.includes(method))) return undefined;
  return warning(
    'auth_method_not_advertised',
    `the metadata does not list the client authentication "${accepted[0]}"`,
    {
      why: `it lists ${shortAscii(listed.join(', '))}`,
      fix: `set ${serverPath(server)}.client_auth.method to one of these`,
    },
  );
}

/**
 * Names by which a server may advertise the client's authentication method, the most specific first.
 * @see draft-ietf-oauth-spiffe-client-auth section 4, RFC 8705 section 2
 */
function authMethodNames({ clientAuth }: AuthorizationServer): string[] {
  switch (clientAuth.method) {
    case 'client_assertion':
      return clientAuth.clientAssertionType === JWT_SPIFFE ? ['spiffe_jwt', 'private_key_jwt'] : ['private_key_jwt'];
    case 'tls_client_auth':
      return ['tls_client_auth', 'self_signed_tls_client_auth', 'spiffe_x509'];
    default:
      return [clientAuth.method];
  }
}

/**
 * Explains why the metadata of an issuer is missing or has no usable endpoint.
 * @param verdict the program's own error message
 */
export function unusableMetadata(
  lookup: MetadataLookup,
  requests: readonly MetadataResponse[],
  verdict: string,
): Finding {
  const { endpoint, issuer, path } = lookup;
  const documents = requests.filter((request) => request.status === 200 && isObject(request));
  const other = documents.find((request) => jsonBodyOf(request).issuer !== issuer);
  if (other !== undefined) return issuerMismatch(lookup, other);
  const [document] = documents;
  if (document !== undefined) return unusableEndpoint(lookup, document, verdict);
  const fix = `check ${path}.issuer ("${issuer}"), or set ${endpoint} to skip discovery`;
  const html = requests.find(({ status }) => status === 200);
  if (html !== undefined) {
    return problem('metadata_unusable', `${html.url} returns 200, but not JSON`, {
      why: 'some servers return a web page for every address',
      fix,
    });
  }
  const busy = requests.find(({ status }) => status !== undefined && (status >= 500 || status === 429));
  if (busy !== undefined) {
    return problem('server_unavailable', `the request for metadata at ${busy.url} returns ${busy.status}`, {
      why: 'the server is faulty or still starting, or a gateway in front of it cannot reach it',
      fix: "check the server's log for this moment",
    });
  }
  const places = requests.map(({ url, status }) => `${url} (${status ?? 'no response'})`).join(', ');
  return problem('metadata_not_found', `no metadata at ${places}`, {
    why: 'the issuer may lack a part of its path, such as /realms/<realm> at Keycloak or /application/o/<slug>/ at authentik',
    fix,
  });
}

function issuerMismatch({ issuer, path }: MetadataLookup, request: MetadataResponse): Finding {
  const { issuer: stated } = jsonBodyOf(request);
  const named = typeof stated === 'string' ? stated : '';
  return problem(
    'issuer_mismatch',
    `the metadata at ${request.url} has the issuer "${shortAscii(named)}", but the config has "${issuer}"`,
    {
      why: differInSlash(named, issuer)
        ? 'they differ in the trailing slash; RFC 8414 requires them to be identical'
        : 'the config reaches the server by another name than its own, or this is another server',
      fix: `set ${path}.issuer to "${shortAscii(named)}", or change the server's own name (Keycloak: its hostname setting)`,
    },
  );
}

export function differInSlash(one: string, other: string): boolean {
  return one.replace(/\/$/, '') === other.replace(/\/$/, '');
}

const ENDPOINTS = {
  token_endpoint: {
    insecure: 'a plain http token endpoint',
    why: 'the client secret and tokens would cross the network unencrypted',
    loopback: 'a token endpoint on loopback',
  },
  jwks_uri: {
    insecure: 'keys at a plain http URL',
    why: 'an attacker on the network could replace the keys',
    loopback: 'keys on loopback',
  },
} as const;

function unusableEndpoint(lookup: MetadataLookup, request: MetadataResponse, verdict: string): Finding {
  const { endpoint: field, path, issuer, allowInsecure, allowInsecureHttp } = lookup;
  const endpoint = jsonBodyOf(request)[field];
  const url = typeof endpoint === 'string' && URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const named = shortAscii(String(endpoint));
  switch (url && endpointProblem(url, issuer, allowInsecureHttp)) {
    case 'insecure': {
      const { insecure, why } = ENDPOINTS[field];
      const trusted = issuer.startsWith('http:') ? `, or set ${allowInsecure} if that network is trusted` : '';
      return problem(`${field}_insecure`, `the metadata names ${insecure}: ${named}`, {
        why: `${why}; a server behind a TLS proxy often does not know that it is reached over https`,
        fix: `configure the server to publish its https address, or set ${path}.${field}${trusted}`,
      });
    }
    case 'loopback':
      return problem(`${field}_loopback`, `the metadata names ${ENDPOINTS[field].loopback}: ${named}`, {
        why: 'the issuer is on another host, so this address leads to another program beside cambist',
        fix: `configure the server to publish its own address, or set ${path}.${field}`,
      });
    default:
      return problem('metadata_unusable', `the metadata at ${request.url} is unusable: ${verdict}`, {
        fix: `set ${path}.${field} to skip discovery`,
      });
  }
}

function listOf(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : undefined;
}

function isObject({ text }: MetadataResponse): boolean {
  return text.trimStart().startsWith('{');
}
