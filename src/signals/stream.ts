import type { Transmitter } from '../config/optional-sections.ts';
import { type RequestUrl, toRequestUrl } from '../tokens/bounded-request.ts';
import { isJsonObject, type JsonObject, parseJsonObject, textOf } from '../tokens/json-object.ts';
import { REVOKING_EVENTS } from './events.ts';
import { TransmitterError } from './problems.ts';
import type { TransmitterClient } from './transmitter-client.ts';
import {
  checkEndpoint,
  readTransmitterMetadata,
  type TransmitterMetadata,
  transmitterMetadataUrls,
} from './transmitter-metadata.ts';

/** cambist's stream of events at a transmitter. */
export interface Stream {
  /** Undefined for push. */
  readonly pollUrl: RequestUrl | undefined;
  /** Undefined where only `poll_endpoint` is known. */
  readonly id: string | undefined;
  readonly statusUrl: RequestUrl | undefined;
  readonly verificationUrl: RequestUrl | undefined;
}

/** Finds the stream, and remembers it. */
export interface StreamLocator {
  /** @throws {TransmitterError} */
  locate(): Promise<Stream>;
  /** Looks for the stream again at the next use. */
  forget(): void;
}

/** Time limit for each request that manages a stream. */
export const MANAGE_TIMEOUT_MS = 10_000;

/** The URN of the framework, and the older URL. */
const METHODS: Readonly<Record<'push' | 'poll', readonly string[]>> = {
  push: ['urn:ietf:rfc:8935', 'https://schemas.openid.net/secevent/risc/delivery-method/push'],
  poll: ['urn:ietf:rfc:8936', 'https://schemas.openid.net/secevent/risc/delivery-method/poll'],
};
const MAX_ID_LENGTH = 1024;

export function createStreamLocator(transmitter: Transmitter, client: TransmitterClient): StreamLocator {
  let stream: Stream | undefined;
  let locating: Promise<Stream> | undefined;

  async function find(): Promise<Stream> {
    const found = await findStream(transmitter, client, { mayCreate: true });
    if (found === undefined) throw noStream(transmitter);
    stream = found;
    return found;
  }

  return {
    async locate() {
      if (stream !== undefined) return stream;
      locating ??= find().finally(() => {
        locating = undefined;
      });
      return locating;
    },
    forget() {
      stream = undefined;
    },
  };
}

/**
 * Finds cambist's stream at a transmitter.
 * @param mayCreate creates a missing one for polls
 * @returns undefined if it is missing
 * @throws {TransmitterError}
 */
export async function findStream(
  transmitter: Transmitter,
  client: TransmitterClient,
  { mayCreate }: { readonly mayCreate: boolean },
): Promise<Stream | undefined> {
  const { delivery, pollEndpoint } = transmitter;
  if (pollEndpoint !== undefined) {
    return { pollUrl: toRequestUrl(pollEndpoint), id: undefined, statusUrl: undefined, verificationUrl: undefined };
  }
  const metadata = await fetchMetadata(transmitter, client);
  const { configurationEndpoint } = metadata;
  if (configurationEndpoint === undefined) {
    throw new TransmitterError('metadata', `${labelOf(transmitter)}: its metadata has no "configuration_endpoint"`);
  }
  const url = toRequestUrl(configurationEndpoint);
  const found = await existing(transmitter, client, url);
  if (found !== undefined) return readStream(transmitter, found, metadata);
  // The transmitter must be told where to push to, which the operator does.
  if (delivery === 'push') throw noStream(transmitter);
  if (!mayCreate) return undefined;
  return readStream(transmitter, await create(transmitter, client, url), metadata);
}

async function fetchMetadata(transmitter: Transmitter, client: TransmitterClient): Promise<TransmitterMetadata> {
  const { issuer } = transmitter;
  const label = labelOf(transmitter);
  let missing: TransmitterError | undefined;
  let invalid: unknown;
  for (const url of transmitterMetadataUrls(issuer)) {
    const response = await client.getOpen(toRequestUrl(url), MANAGE_TIMEOUT_MS);
    if (response.status === 200) {
      try {
        return readTransmitterMetadata(response, label, issuer);
      } catch (error) {
        invalid ??= error;
        continue;
      }
    }
    const failure = client.unexpected(`the request for its metadata at ${url}`, response);
    if (failure.problem === 'unreachable') throw failure;
    missing = new TransmitterError('metadata', failure.message);
  }
  // A problem within a document is more useful than a missing document at the other URL.
  throw invalid ?? missing;
}

/** Reads the configuration of a stream. Pure. @throws {TransmitterError} */
function readStream(
  transmitter: Transmitter,
  { stream_id: id, aud, delivery: method }: JsonObject,
  { statusEndpoint, verificationEndpoint }: TransmitterMetadata,
): Stream {
  const { issuer, audience, delivery } = transmitter;
  const label = labelOf(transmitter);
  if (typeof id !== 'string' || id === '' || id.length > MAX_ID_LENGTH) {
    throw new TransmitterError('response', `${label}: its stream has no usable "stream_id"`);
  }
  const stated: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (aud !== undefined && !stated.some((one) => typeof one === 'string' && audience.includes(one))) {
    // The transmitter chooses the text, and could repeat the credential that it got.
    throw new TransmitterError('audience', `${label}: the audience of its stream is not one of "audience"`);
  }
  const { endpoint_url: endpoint } = Object(method) as JsonObject;
  const pollUrl = (): string => checkEndpoint(endpoint, 'its stream names an "endpoint_url"', label, issuer);
  return {
    pollUrl: delivery === 'poll' ? toRequestUrl(pollUrl()) : undefined,
    id,
    statusUrl: statusEndpoint === undefined ? undefined : toRequestUrl(withQuery(statusEndpoint, id)),
    verificationUrl: verificationEndpoint === undefined ? undefined : toRequestUrl(verificationEndpoint),
  };
}

/** The stream of this delivery that exists. @throws {TransmitterError} where there is one of the other delivery alone */
async function existing(
  transmitter: Transmitter,
  client: TransmitterClient,
  url: RequestUrl,
): Promise<JsonObject | undefined> {
  const { delivery } = transmitter;
  const label = labelOf(transmitter);
  const response = await client.get(url, MANAGE_TIMEOUT_MS);
  if (response.status === 404 || response.status === 204) return undefined;
  if (response.status !== 200) throw client.unexpected('the request for its streams', response);
  const streams = readStreams(response.text);
  if (streams === undefined) throw new TransmitterError('response', `${label}: its streams are not JSON objects`);
  const found = streams.find((stream) => METHODS[delivery ?? 'poll'].includes(methodOf(stream)));
  if (found === undefined && streams.length > 0) throw noStream(transmitter);
  return found;
}

async function create(transmitter: Transmitter, client: TransmitterClient, url: RequestUrl): Promise<JsonObject> {
  const body = {
    delivery: { method: METHODS.poll[0] },
    events_requested: [...REVOKING_EVENTS],
    description: 'cambist',
  };
  const response = await client.post(url, body, MANAGE_TIMEOUT_MS);
  if (response.status !== 201 && response.status !== 200) {
    throw client.unexpected('the request to create a stream', response);
  }
  const created = parseJsonObject(response.text);
  if (created !== undefined) return created;
  throw new TransmitterError('response', `${labelOf(transmitter)}: its new stream is not a JSON object`);
}

/** A list, or one object in drafts of the framework. Undefined for anything else. */
function readStreams(text: string): JsonObject[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const list = Array.isArray(value) ? value : [value];
  return list.every(isJsonObject) ? list : undefined;
}

function methodOf({ delivery }: JsonObject): string {
  return isJsonObject(delivery) ? textOf(delivery.method) : '';
}

function withQuery(endpoint: string, id: string): string {
  const url = new URL(endpoint);
  url.searchParams.set('stream_id', id);
  return url.href;
}

function noStream(transmitter: Transmitter): TransmitterError {
  const { delivery } = transmitter;
  return new TransmitterError(
    'stream',
    `${labelOf(transmitter)}: cambist has no stream there with delivery "${delivery}"`,
  );
}

function labelOf({ name }: Transmitter): string {
  return `transmitter "${name}"`;
}
