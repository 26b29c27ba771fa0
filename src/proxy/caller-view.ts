import type { Route } from '../config/config.ts';
import { callerReference } from './caller-reference.ts';
import { withResourceMetadata } from './challenges.ts';
import { createEndpointRewriter, type Rewriter } from './endpoint-event.ts';
import type { Passage } from './passage.ts';
import { describesItself, metadataUrl } from './resource-metadata.ts';

/**
 * Turns what would lead the caller past cambist: `Location`, and the metadata that a challenge names. The rest of an
 * answer's headers stays as it is.
 * @param headers names and values in turn, as the caller would get them
 */
export function turnHeaders(headers: string[], passage: Passage, route: Route): string[] {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (name.length === LOCATION.length && name.toLowerCase() === LOCATION) {
      headers[i + 1] = referenceFor(value, passage, route) ?? value;
    } else if (name.length === CHALLENGE.length && name.toLowerCase() === CHALLENGE && describesItself(route)) {
      const turned = withResourceMetadata(value, ownMetadata(passage, route));
      if (turned !== undefined) headers[i + 1] = turned;
      else {
        headers.splice(i, 2);
        i -= 2;
      }
    }
  }
  return headers;
}

const LOCATION = 'location';
const CHALLENGE = 'www-authenticate';

/** The URL of cambist's own metadata for what this request asked for. */
export function ownMetadata(passage: Passage, route: Route): string | undefined {
  const { target, url, request, credentialHeaders } = passage;
  return metadataUrl(route, target?.path, { url, rawHeaders: request.rawHeaders, credentialHeaders });
}

/**
 * What changes the stream of an old HTTP+SSE server; undefined for every other answer.
 * @param header a header of the answer, by lower-case name
 */
export function streamRewriter(
  passage: Passage,
  route: Route,
  status: number,
  header: (name: string) => string | undefined,
): Rewriter | undefined {
  if (passage.request.method !== 'GET' || status !== 200) return undefined;
  if (header('content-type')?.toLowerCase().startsWith('text/event-stream') !== true) return undefined;
  if (header('content-encoding') !== undefined || header('content-length') !== undefined) return undefined;
  return createEndpointRewriter((url) => referenceFor(url, passage, route));
}

function referenceFor(reference: string, { leg, target }: Passage, route: Route): string | undefined {
  if (leg === undefined || target?.path === undefined) return undefined;
  return callerReference(reference, { route, upstreamPath: leg.path, callerPath: target.path + target.query });
}
