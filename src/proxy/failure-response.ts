import type { CambistError } from '../errors.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import { idForError, isMcpPost, type ResponseId, toJsonRpc } from './mcp-error.ts';
import { errorResponse, type OwnResponse } from './own-response.ts';
import type { ProxyRequest, RequestRecord } from './proxy-request.ts';
import { clientOf, wantedToken } from './resource-metadata.ts';

type FailedRequest = ProxyRequest &
  Pick<RequestRecord, 'route' | 'body'> & { readonly target: RequestTarget | undefined };

/** The response to a request that failed: a problem, or for MCP clients a JSON-RPC error, whose `id` may still have to be read. */
export function failureResponse(request: FailedRequest, error: CambistError): OwnResponse | Promise<OwnResponse> {
  const { incoming, route, body } = request;
  if (!isMcpPost(incoming, route, error)) return problem(request, error);
  const toError = (id: ResponseId): OwnResponse => toJsonRpc(problem(request, error), id);
  const id = idForError(error, incoming, body);
  return id instanceof Promise ? id.then(toError) : toError(id);
}

function problem(request: FailedRequest, error: CambistError): OwnResponse {
  const { id, route, target } = request;
  const isChallenge = error.status === 401 && route !== undefined;
  return errorResponse(error, id, isChallenge ? wantedToken(route, target?.path, clientOf(request)) : undefined);
}
