import type { IncomingMessage } from 'node:http';
import { CambistError } from '../errors.ts';
import { clientCertificate } from '../listeners/client-certificates.ts';
import { followsClose } from '../proxy/closing.ts';
import { failRequest } from '../proxy/fail-request.ts';
import { findRoute, receive } from '../proxy/find-route.ts';
import type { Pipeline } from '../proxy/pipeline.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import { takeBody } from '../proxy/request-body.ts';
import { admitMetadataRequest } from '../proxy/resource-metadata.ts';
import { callUpstream, type UpstreamCallOptions } from '../proxy/upstream-call.ts';
import type { Subject } from '../tokens/subject.ts';
import { agentHeaders } from './agent-headers.ts';
import { handleOfRequest } from './handle-text.ts';
import type { Handle, Handles, HeldHandle } from './handles.ts';
import { type InboundRules, inboundRules, isOpen } from './rules.ts';
import { type VerifyCallerOptions, verifyCaller } from './verify-caller.ts';

export interface InboundPipelineOptions extends UpstreamCallOptions, VerifyCallerOptions {
  readonly handles: Handles;
  /** Clients have certificates. */
  readonly checksClients: boolean;
  /** Lets other replicas resolve a handle, if they share anything. Never rejects. */
  readonly share?: ((handle: Handle) => Promise<void> | undefined) | undefined;
}

/** A message of a person, or of MCP without a file, is smaller. */
const MAX_WHOLE_BODY_BYTES = 64 * 1024;

/** The life of a request from a caller to the agent, step by step. It never rejects: an error becomes the response. */
export function createInboundPipeline(options: InboundPipelineOptions): Pipeline {
  return async (request, switched) => {
    // The request is over, because its connection is closed.
    if (followsClose(request.incoming)) return;
    try {
      // Receive: read the target, and refuse what cannot be forwarded as it is.
      const received = receive(request);
      assertFewHeaders(request.incoming);
      if (options.checksClients) clientCertificate(request.incoming.socket, options.clock.wallMs());
      const rules = inboundRules(request.active);
      const needsToken = !isOpen(received.target, rules.inbound.open);

      // Respond to requests for the metadata that says where callers get their tokens.
      const metadata = needsToken ? admitMetadataRequest(received) : undefined;
      if (metadata !== undefined) return request.respond(metadata);

      // Find the route: all lead to the agent.
      const finding = findRoute(received);
      const routed = finding instanceof Promise ? await finding : finding;
      request.admit(routed);

      // Verify the caller's token, and hold its handle until the request is complete.
      const verifying = needsToken ? verifyCaller(routed, options) : undefined;
      const subject = verifying instanceof Promise ? await verifying : verifying;
      const session = { subject, id: undefined };
      request.admitSession(session);
      const held = subject && hold(request, subject, options.handles);

      // Let other replicas resolve the handle, before the agent gets it.
      const sharing = held && options.share?.(held.handle);
      if (sharing !== undefined) await sharing;

      // Read the body: a small one as a whole, which is faster; a large one streams.
      const taking = takeBody(request, MAX_WHOLE_BODY_BYTES);
      const body = taking instanceof Promise ? await taking : taking;
      request.admitToUpstream(body);

      // Send with the handle in place of the token, and relay the response.
      const headers = agentHeaders(routed, rules.reserved, held && replacementOf(held, rules));
      const { target, route, path, wholeBody } = routed;
      const prepared = { request, target, route, path, wholeBody, session, body, headers, token: undefined };
      callUpstream(prepared, options, switched);
    } catch (error) {
      // Finish with an error of cambist's own. Every other end is seen by the request's tracker.
      failRequest(request, error);
    }
  };
}

/** Envoy's default. Many servers refuse more, and Node drops some: with those of cambist, the agent would lose its caller. */
const MAX_HEADERS = 100;

function assertFewHeaders({ rawHeaders }: IncomingMessage): void {
  if (rawHeaders.length <= 2 * MAX_HEADERS) return;
  const message = `inbound: the request has more than ${MAX_HEADERS} headers: send fewer`;
  throw new CambistError('ERR_TOO_MANY_HEADERS', message);
}

function hold(request: ProxyRequest, subject: Subject, handles: Handles): HeldHandle {
  const held = handles.hold(subject);
  request.onClosed(() => handles.release(held));
  return held;
}

function replacementOf({ handle, request }: HeldHandle, rules: InboundRules) {
  const inBaggage = rules.inbound.baggage ? handleOfRequest(handle.text, request) : undefined;
  return { handle: handle.text, inBaggage, claims: rules.claimsFor(handle) };
}
