import type { Clock } from '../clock/clock.ts';
import type { JwtSvid } from './svid.ts';

/** Delay after a failed attempt to replace a token that is still valid. */
const RETRY_MS = 5000;
/** A token may expire on its way to a server, whose clock may be ahead. */
const MARGIN_MS = 10_000;

interface KeptJwt {
  svid?: JwtSvid;
  replaceAtMs: number;
  fetching?: Promise<JwtSvid> | undefined;
}

/**
 * The JWT-SVIDs of this workload by audience.
 * @param request gets one from the agent
 * @param onFailure is called where a valid one could not be replaced
 */
export function createJwtSvids(
  request: (audience: string) => Promise<JwtSvid>,
  clock: Clock,
  onFailure: (error: unknown) => void,
) {
  let jwts = new Map<string, KeptJwt>();

  /** One call at a time for each audience. */
  function fetch(audience: string, kept: KeptJwt): Promise<JwtSvid> {
    kept.fetching ??= request(audience)
      .then((svid) => {
        kept.svid = svid;
        kept.replaceAtMs = (clock.wallMs() + svid.expiresAtMs) / 2;
        return svid;
      })
      .finally(() => {
        kept.fetching = undefined;
      });
    return kept.fetching;
  }

  return {
    /**
     * The token for an audience of the config. It is fetched once, and again in the background after half of its lifetime.
     * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
     */
    obtain(audience: string): Promise<JwtSvid> {
      const kept: KeptJwt = jwts.get(audience) ?? { replaceAtMs: 0 };
      jwts.set(audience, kept);
      const nowMs = clock.wallMs();
      const { svid } = kept;
      if (svid === undefined || svid.expiresAtMs - MARGIN_MS <= nowMs) return fetch(audience, kept);
      if (kept.replaceAtMs <= nowMs) {
        kept.replaceAtMs = nowMs + RETRY_MS;
        fetch(audience, kept).catch(onFailure);
      }
      return Promise.resolve(svid);
    },
    /** The identity has changed. The result of a call in flight is not kept either. */
    forget(): void {
      jwts = new Map();
    },
  };
}
