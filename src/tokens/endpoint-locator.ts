import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/config.ts';
import { type RequestUrl, toRequestUrl } from './bounded-request.ts';
import { addDiagnosis, type LoadDiagnoses, type MetadataAttempt } from './diagnosis.ts';
import { discover } from './discovery.ts';
import type { EndpointClaims } from './endpoint-claims.ts';
import type { ServerMetadata } from './metadata.ts';

/** The metadata is read again after this time. The known endpoint stays in use meanwhile, and if that fails. */
const METADATA_LIFETIME_MS = 60 * 60 * 1000;
/** Minimum delay before reading the metadata again after a failure. */
const METADATA_COOLDOWN_MS = 60 * 1000;

/**
 * Finds the token endpoint of a server: in the config, or by discovery.
 * @param dispatcher gives the connection pool
 * @param diagnoses explain why there is no usable metadata
 * @returns a function that is synchronous while the endpoint is known
 * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID
 */
export function createEndpointLocator(
  server: AuthorizationServer,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  claims: EndpointClaims,
  clock: Clock,
  diagnoses?: LoadDiagnoses,
): () => RequestUrl | Promise<RequestUrl> {
  const configured = server.tokenEndpoint === undefined ? undefined : toRequestUrl(server.tokenEndpoint);
  let discovered: RequestUrl | undefined;
  let renewAtMs = 0;
  let discovering: Promise<RequestUrl> | undefined;

  async function discoverOrExplain(pool: Dispatcher): Promise<ServerMetadata> {
    const attempts: MetadataAttempt[] = [];
    try {
      return await discover(server, server.issuer ?? '', pool, performance.now() + server.timeoutMs, attempts);
    } catch (error) {
      await addDiagnosis(error, diagnoses, (catalogue, { message }) =>
        catalogue.discovery({ server, attempts, message }),
      );
      throw error;
    }
  }

  async function readMetadata(): Promise<RequestUrl> {
    const pool = await dispatcher();
    const metadata = await discoverOrExplain(pool);
    const { tokenEndpoint, mtlsTokenEndpoint = tokenEndpoint } = metadata;
    claims.claim(server, [tokenEndpoint, mtlsTokenEndpoint]);
    discovered = toRequestUrl(mtlsTokenEndpoint);
    renewAtMs = clock.monotonicMs() + METADATA_LIFETIME_MS;
    return discovered;
  }

  /** Concurrent requests share one discovery. */
  function discoverOnce(): Promise<RequestUrl> {
    discovering ??= readMetadata().finally(() => {
      discovering = undefined;
    });
    return discovering;
  }

  return () => {
    if (configured !== undefined) return configured;
    if (discovered === undefined || !claims.holds(server)) return discoverOnce();
    if (clock.monotonicMs() >= renewAtMs) {
      renewAtMs = clock.monotonicMs() + METADATA_COOLDOWN_MS;
      discoverOnce().catch(() => {
        // No request waits for this, and the known endpoint stays in use.
      });
    }
    return discovered;
  };
}
