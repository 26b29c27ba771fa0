import type { AuthorizationServer } from '../config/authorization-server.ts';
import { CambistError } from '../errors.ts';

interface Claim {
  readonly issuer: string | undefined;
  readonly endpoints: readonly URL[];
}

/**
 * The token endpoints that authorization servers name in their metadata. No two issuers may name the same one: otherwise the
 * metadata of one server could send its callers' tokens and our credentials to another server.
 */
export type EndpointClaims = ReturnType<typeof createEndpointClaims>;

/**
 * @param servers all servers of the config
 * @param what kind of endpoint, for messages
 * @param key of the config that sets it
 */
export function createEndpointClaims(
  servers: () => readonly AuthorizationServer[],
  what = 'token endpoint',
  key = 'token_endpoint',
) {
  /** The key is the server's name. */
  const claims = new Map<string, Claim>();
  /** The results of `holds`, until a claim or the config changes. */
  let checked = new Map<Claim, boolean>();
  let checkedServers: readonly AuthorizationServer[] | undefined;

  function claimOf({ name, issuer }: AuthorizationServer): Claim | undefined {
    const claim = claims.get(name);
    return claim?.issuer === issuer ? claim : undefined;
  }

  /** @returns the reason why a server must not use an endpoint */
  function conflictOf(server: AuthorizationServer, endpoint: URL): string | undefined {
    const rivals = servers().filter(({ issuer }) => issuer !== server.issuer);
    const onOwnHost = originOf(server.issuer) === endpoint.origin;
    const hosts = (rival: AuthorizationServer) =>
      [rival.issuer, rival.tokenEndpoint].some((url) => originOf(url) === endpoint.origin);
    const host = onOwnHost ? undefined : rivals.find(hosts);
    if (host !== undefined) {
      return `its metadata names ${withArticle(what)} on the host of authorization server "${host.name}": if that is correct, set "${key}"`;
    }
    const owner = rivals.find(
      (rival) =>
        namedBy(rival).some((named) => isSame(named, endpoint)) &&
        // Metadata of a server elsewhere takes no endpoint from the server on its host.
        (!onOwnHost || rival.tokenEndpoint !== undefined || originOf(rival.issuer) === endpoint.origin),
    );
    if (owner === undefined) return undefined;
    return `its metadata names the ${what} of authorization server "${owner.name}": for the server that owns it, set "${key}"`;
  }

  function namedBy(server: AuthorizationServer): readonly URL[] {
    return server.tokenEndpoint === undefined ? (claimOf(server)?.endpoints ?? []) : [new URL(server.tokenEndpoint)];
  }

  function check(server: AuthorizationServer, claim: Claim): boolean {
    if (checkedServers !== servers()) checked = new Map();
    checkedServers = servers();
    const holds = checked.get(claim) ?? claim.endpoints.every((endpoint) => conflictOf(server, endpoint) === undefined);
    checked.set(claim, holds);
    return holds;
  }

  return {
    /**
     * Notes the endpoints that a server's metadata names.
     * @throws {CambistError} ERR_STS_METADATA_INVALID when another server owns one of them: by its host, the config, or the first claim
     */
    claim(server: AuthorizationServer, endpoints: readonly string[]): void {
      const urls = endpoints.map((endpoint) => new URL(endpoint));
      const [conflict] = urls.flatMap((url) => conflictOf(server, url) ?? []);
      // A refused claim does not count, so that it takes nothing from the server that was first.
      if (conflict !== undefined) {
        throw new CambistError('ERR_STS_METADATA_INVALID', `authorization server "${server.name}": ${conflict}`);
      }
      checked = new Map();
      claims.set(server.name, { issuer: server.issuer, endpoints: urls });
    },
    /** Does a server still own the endpoints that it named last? */
    holds(server: AuthorizationServer): boolean {
      const claim = claimOf(server);
      return claim !== undefined && check(server, claim);
    },
  };
}

function withArticle(what: string): string {
  return `${/^[aeiou]/.test(what) ? 'an' : 'a'} ${what}`;
}

function originOf(url: string | undefined): string | undefined {
  return url === undefined ? undefined : new URL(url).origin;
}

/** Servers may ignore the query, letter case, a trailing slash and percent-encoding. */
function isSame(one: URL, other: URL): boolean {
  return one.origin === other.origin && plainPath(one) === plainPath(other);
}

function plainPath({ pathname }: URL): string {
  const decoded = pathname.replace(/%[0-9a-f]{2}/gi, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)));
  return `${decoded.toLowerCase()}/`.replace(/\/+/g, '/');
}
