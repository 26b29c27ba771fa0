import type { CambistError } from '../errors.ts';
import { idForError, isMcpPost, type ResponseId } from './mcp-error.ts';
import { asCambistError, errorResponse, type OwnResponse } from './own-response.ts';
import type { ProxyRequest } from './proxy-request.ts';
import { clientOf, wantedToken } from './resource-metadata.ts';

/**
 * Responds with an error of cambist's own, unless a response has begun: with a problem, or for MCP clients with a JSON-RPC error.
 * A client whose protocol can ask the user for consent gets that request.
 */
export function failRequest(request: ProxyRequest, caught: unknown): void {
  const error = asCambistError(caught);
  if (error.consentUrl === undefined) {
    respond(request, error, undefined);
    return;
  }
  // Loaded at first use, because few configs have routes that need consent.
  import('./elicitation.ts')
    .then(({ elicitationOf }) => elicitationOf(error, request.record))
    .then(
      (instead) => respond(request, error, instead),
      (fault: unknown) => respond(request, asCambistError(fault), undefined),
    );
}

function respond(request: ProxyRequest, error: CambistError, instead: OwnResponse | undefined): void {
  if (!request.mayFail) return;
  const response = instead ?? failureResponse(request, error);
  if (response instanceof Promise) {
    request.isFailing = true;
    void response.then((known) => request.respond(known, error));
  } else {
    request.respond(response, error);
  }
}

/** MCP clients need the `id`, which may still have to be read. */
export function failureResponse(request: ProxyRequest, error: CambistError): OwnResponse | Promise<OwnResponse> {
  const { incoming, body, route } = request.record;
  if (!isMcpPost(incoming, route, error)) return problem(request, error);
  const id = idForError(error, incoming, body);
  return id instanceof Promise ? id.then((known) => problem(request, error, known)) : problem(request, error, id);
}

function problem(request: ProxyRequest, error: CambistError, responseId?: ResponseId): OwnResponse {
  const { id, route } = request.record;
  const isChallenge = error.status === 401 && error.code !== 'ERR_AGENT_UNKNOWN' && route !== undefined;
  const wanted = isChallenge ? wantedToken(route, request.target?.path, clientOf(request)) : undefined;
  return errorResponse(error, id, wanted, responseId);
}
