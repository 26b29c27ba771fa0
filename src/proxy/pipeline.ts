import type { Identify } from '../identity/identify.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { SubjectSource } from '../tokens/subject-source.ts';
import { followsClose } from './closing.ts';
import { mayCarryState, resumeAfterConsent } from './consent.ts';
import { assertSameSite } from './cross-site.ts';
import { failRequest } from './fail-request.ts';
import { findRoute, receive } from './find-route.ts';
import { wantsStream } from './headers.ts';
import { obtainToken, sessionOf } from './obtain-token.ts';
import type { OwnResponse } from './own-response.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { CallerToken, ReadCaller } from './read-caller-token.ts';
import { readBody } from './request-body.ts';
import { unencoded, upstreamHeaders } from './request-headers.ts';
import { admitMetadataRequest } from './resource-metadata.ts';
import { actorOn, agentOf, assertAllowed, assertNoAgent } from './sender.ts';
import type { Received, Routed, Switched } from './steps.ts';
import { admitUnattended } from './unattended.ts';
import { callUpstream, type UpstreamCallOptions } from './upstream-call.ts';

export interface PipelineOptions extends UpstreamCallOptions {
  readonly subjects: SubjectSource;
  readonly readCaller: ReadCaller;
  /** Exists where agents or clients have an identity. */
  readonly identify?: Identify | undefined;
}

/** The steps that differ where a data plane asks, and forwards the request itself. */
export interface Deciding {
  /** A response that needs no route. */
  respondFirst(received: Received): OwnResponse | undefined;
  findRoute(received: Received): Routed | Promise<Routed>;
  /** The response that lets the request pass. */
  allow(routed: Routed, caller: CallerToken, token: IssuedToken | undefined): OwnResponse;
}

/**
 * Takes a request from its receipt to its response. Never rejects: an error becomes the response.
 * @param switched given for a WebSocket handshake
 */
export type Pipeline = (request: ProxyRequest, switched?: Switched) => Promise<void>;

/**
 * The life of a request, step by step. Steps that usually need no waiting return their result itself, because each `await`
 * costs a turn of the microtask queue.
 */
export function createPipeline(options: PipelineOptions, deciding?: Deciding): Pipeline {
  return async (request, switched) => {
    // It gets no response, because an earlier one closes the connection.
    if (followsClose(request.incoming)) return;
    try {
      // Receive: read the target, and refuse what cannot be forwarded as it is.
      const received = receive(request);

      // Identify the agent, where the config names those that may use the proxy.
      const identifying = options.identify && agentOf(request, options.identify);
      const agent = identifying instanceof Promise ? await identifying : identifying;
      if (agent !== undefined) request.agentFound(agent.name);

      // Respond to requests for the metadata of a resource that cambist protects.
      const metadata = deciding === undefined ? admitMetadataRequest(received) : deciding.respondFirst(received);
      if (metadata !== undefined) return request.respond(metadata);

      // Find the route. Some routes depend on the MCP message in the body, which is then read here.
      const finding = deciding === undefined ? findRoute(received) : deciding.findRoute(received);
      let routed = finding instanceof Promise ? await finding : finding;
      request.admit(routed);
      if (agent !== undefined) assertAllowed(routed.route, agent);

      // Read the caller's token, which never goes upstream except on a passthrough route. An agent's never does.
      const reading = options.readCaller(routed, options.subjects);
      const caller = reading instanceof Promise ? await reading : reading;
      const { subject } = caller;
      if (agent !== undefined) assertNoAgent(routed, caller);

      // Without a caller, some routes take handshakes and lists. The body says what it is, and is read here.
      if (subject === undefined && routed.route.unattended !== undefined) {
        const admitted = await admitUnattended(routed, caller);
        if ('status' in admitted) return request.respond(admitted);
        routed = admitted;
      }

      // Refuse what a web page made a browser send, where no token of the caller is required.
      assertSameSite(routed, subject);

      // Read the body: a small one as a whole, so that it can be sent again; a large one streams.
      const taking = readBody(request, routed.route, routed.wholeBody);
      let body = taking instanceof Promise ? await taking : taking;
      request.admitToUpstream(body);
      const session = sessionOf(routed, subject, agent && actorOn(routed.route, agent));
      request.admitSession(session);
      const headers = deciding === undefined ? headersOf(routed, caller) : [];

      // Remove the fields that the client added after a consent, which are not for the backend.
      if (routed.route.consent !== undefined && mayCarryState(body)) {
        body = resumeAfterConsent(routed, session, body, headers, options.broker);
        request.admitToUpstream(body);
      }

      // Obtain the issued token. This follows the body, because a slow body may outlast a token.
      const obtaining = obtainToken(routed, session, options);
      const token = obtaining instanceof Promise ? await obtaining : obtaining;

      // Let the data plane send it, where one asks.
      if (deciding !== undefined) return request.allow(deciding.allow(routed, caller, token), token);

      // Send, retry where the upstream refuses the token, and relay the response.
      const { target, route, path, wholeBody } = routed;
      callUpstream({ request, target, route, path, wholeBody, session, body, headers, token }, options, switched);
    } catch (error) {
      // Respond with an error of cambist's own. Errors after the call began do not get here: `upstream-call.ts` handles them.
      failRequest(request, error);
    }
  };
}

/** The request's headers as the upstream gets them, without the issued token. */
function headersOf({ request, route }: Routed, { rawHeaders, withheldTokens }: CallerToken): string[] {
  const { common, onRoute } = request.active.withheld;
  const headers = upstreamHeaders(rawHeaders, {
    host: route.upstream.host,
    withheld: onRoute.get(route) ?? common,
    callerTokens: withheldTokens,
    requestId: request.record.id,
  });
  const isStream = request.incoming.method === 'GET' && wantsStream(rawHeaders);
  return isStream ? unencoded(headers) : headers;
}
