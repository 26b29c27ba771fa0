import { HOP_BY_HOP } from '../config/header-names.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { claimsOf } from '../tokens/subject.ts';
import { callerReference } from './caller-reference.ts';
import { withoutScopeChallenges, withResourceMetadata } from './challenges.ts';
import { createEndpointRewriter, type Rewriter } from './endpoint-event.ts';
import { connectionOptions, type RawHeaders } from './headers.ts';
import { isMadeFromCallers } from './issued-token.ts';
import { clientOf, describesItself, issuerOf, metadataUrl } from './resource-metadata.ts';
import type { Admitted } from './steps.ts';

const NO_CONTENT = 204;
/** A 204 must not carry it (RFC 9110 section 8.6). */
const LENGTH: ReadonlySet<string> = new Set(['content-length']);
/** For cambist's own proofs. A caller's proofs are for cambist (RFC 9449 section 8.2). */
const NONCE: ReadonlySet<string> = new Set(['dpop-nonce']);

/**
 * The headers of a response as the caller gets them. `Location`, and metadata that a challenge names, are rewritten where
 * they would lead the caller past cambist.
 * @param raw as the upstream sent them
 */
export function responseHeaders(
  raw: RawHeaders,
  status: number,
  token: IssuedToken | undefined,
  admitted: Admitted,
): string[] {
  let headers = callerHeaders(raw);
  if (status === NO_CONTENT) headers = without(headers, LENGTH);
  if (token?.dpop !== undefined) headers = without(headers, NONCE);
  const { request, target, route } = admitted;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (name.length === LOCATION.length && name.toLowerCase() === LOCATION) {
      headers[i + 1] = referenceFor(value, admitted) ?? value;
    } else if (name.length === CHALLENGE.length && name.toLowerCase() === CHALLENGE && describesItself(route)) {
      const kept = withoutScopeChallenges(value, (scopes) => helpsToSignIn(admitted, scopes));
      const rewritten = kept && withResourceMetadata(kept, metadataUrl(route, target.path, clientOf(request)));
      if (rewritten !== undefined) headers[i + 1] = rewritten;
      else {
        headers.splice(i, 2);
        i -= 2;
      }
    }
  }
  return headers;
}

/**
 * Could a caller get what the backend asks for by signing in again with these scopes? MCP clients do that at the server of
 * cambist's metadata whenever a challenge has `insufficient_scope`. Scopes that mean nothing there would send the user to a
 * sign-in that fails, or that changes nothing.
 */
function helpsToSignIn({ route, session }: Admitted, scopes: readonly string[]): boolean {
  const { credential, subjectToken } = route;
  // The backend judges the caller's own token.
  if (credential.kind === 'passthrough') return true;
  if (credential.kind !== 'exchange' || !isMadeFromCallers({ route, session })) return false;
  const issuer = issuerOf(route);
  // The server may trust the caller's issuer. A sign-in at the issuer of the metadata would then give another kind of token.
  const callersIssuer = session.subject && claimsOf(session.subject)?.iss;
  if (issuer !== undefined && callersIssuer !== undefined && callersIssuer !== issuer) return false;
  if (subjectToken.scope !== undefined) {
    const known = subjectToken.scope.split(' ');
    return scopes.every((scope) => known.includes(scope));
  }
  const { authorizationServer, chain } = credential;
  // Two legs, or an assertion grant: the caller's token is for cambist, and its scopes are others than those of the backend.
  if (chain !== undefined || authorizationServer.grant !== 'token_exchange') return false;
  return issuer !== undefined && issuer === authorizationServer.issuer;
}

const LOCATION = 'location';
const CHALLENGE = 'www-authenticate';

/**
 * Rewrites the stream of an HTTP+SSE server (MCP 2024-11-05). Undefined for every other response.
 * @param header returns the value of a response header, by lower-case name
 */
export function streamRewriter(
  admitted: Admitted,
  status: number,
  header: (name: string) => string | undefined,
): Rewriter | undefined {
  if (admitted.request.incoming.method !== 'GET' || status !== 200) return undefined;
  if (header('content-type')?.toLowerCase().startsWith('text/event-stream') !== true) return undefined;
  if (header('content-encoding') !== undefined || header('content-length') !== undefined) return undefined;
  return createEndpointRewriter((url) => referenceFor(url, admitted));
}

function referenceFor(reference: string, { route, path, target }: Admitted): string | undefined {
  if (target.path === undefined) return undefined;
  return callerReference(reference, { route, upstreamPath: path, callerPath: target.path + target.query });
}

/**
 * Builds the response headers that the caller gets.
 * @param raw as received from the upstream
 */
export function callerHeaders(raw: RawHeaders): string[] {
  const headers: string[] = [];
  let listed: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const key = name.toLowerCase();
    if (key === 'connection') listed = connectionOptions([value], listed);
    if (!HOP_BY_HOP.has(key)) headers.push(name, value);
  }
  return listed === undefined ? headers : without(headers, listed);
}

/** Removes the headers with these lower-case names. */
export function without(headers: string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!names.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string);
  }
  return kept;
}
