import type { AuthorizationServer } from '../config/authorization-server.ts';
import { isPassing } from '../tokens/bounded-request.ts';
import { type Finding, problem, shortAscii } from './finding.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';
import { serverPath } from './unreachable.ts';

interface MetadataLookup {
  readonly issuer: string;
  /** Path in the config, as in `authorization_servers.main`. It has the keys `issuer` and that of the endpoint. */
  readonly path: string;
  readonly endpoint: 'token_endpoint' | 'jwks_uri';
}

export function lookupOf(server: AuthorizationServer): MetadataLookup {
  return { issuer: server.issuer ?? '', path: serverPath(server), endpoint: 'token_endpoint' };
}

/**
 * Explains why the metadata of an issuer is missing or has no usable endpoint.
 * @param verdict the program's own error message
 */
export function unusableMetadata(
  { issuer, path, endpoint }: MetadataLookup,
  requests: readonly Pick<RecordedRequest, 'url' | 'status' | 'text'>[],
  verdict: string,
): Finding {
  for (const request of requests) {
    const { issuer: stated } = jsonBodyOf(request);
    if (request.status === 200 && typeof stated === 'string' && stated !== issuer) {
      const named = shortAscii(stated);
      const what = `the metadata at ${request.url} has the issuer "${named}", but the config has "${issuer}"`;
      return problem('issuer_mismatch', what, {
        why: differInSlash(stated, issuer)
          ? 'they differ in the trailing slash; RFC 8414 requires them to be identical'
          : 'the config reaches the server by another name than its own, or this is another server',
        fix: `set ${path}.issuer to "${named}", or change the server's own name (Keycloak: its hostname setting)`,
      });
    }
  }
  if (requests.some(({ status }) => status !== undefined && isPassing(status)))
    return problem('server_unavailable', verdict, { fix: "check the server's log for this moment" });
  const fix = `check ${path}.issuer ("${issuer}"), or set ${path}.${endpoint} to skip discovery`;
  if (requests.some(({ status }) => status === 200)) return problem('metadata_unusable', verdict, { fix });
  return problem('metadata_not_found', verdict, {
    why: 'the issuer may lack a part of its path, such as /realms/<realm> at Keycloak or /application/o/<slug>/ at authentik',
    fix,
  });
}

export function differInSlash(one: string, other: string): boolean {
  return one.replace(/\/$/, '') === other.replace(/\/$/, '');
}
