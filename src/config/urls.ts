import { type ConfigNode, type Reading, valueOrReport } from '../documents/config-node.ts';
import { NOT_REPLACED, PLACEHOLDER } from '../documents/placeholders.ts';
import { mayUsePlainHttp } from '../host-names.ts';
import { hasDotSegments } from '../request-paths.ts';

export interface Upstream {
  /** `scheme://host[:port]`, without a default port. */
  readonly origin: string;
  /** `host[:port]`: the `Host` header of upstream requests. */
  readonly host: string;
  /** Path of the Unix socket to connect to, in place of the origin's host. */
  readonly socketPath?: string;
  /** Replaces the matched prefix: `''` or `/…`, as written in the file. */
  readonly path: string;
}

interface UrlRules {
  readonly allowInsecureHttp: boolean;
  readonly allowQuery: boolean;
  /** The data that plain http would show to the network. Default: tokens. */
  readonly shows?: string;
}

/** Scheme, authority, path, query and fragment (RFC 3986 appendix B). */
const PARTS = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)(\/[^?#]*)?(\?[^#]*)?(#.*)?$/s;
const URI_CHARACTERS = /^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$/;

/** Reads the URL of an upstream, an issuer or an endpoint. Problems do not quote the URL, which may contain a secret. */
export function readHttpUrl(text: string, rules: UrlRules): Reading<Upstream> {
  if (PLACEHOLDER.test(text)) return { problem: NOT_REPLACED };
  const [, scheme, authority, path = '', query, fragment] = PARTS.exec(text) ?? [];
  if (scheme === undefined || authority === undefined) {
    return { problem: 'must be an absolute URL, as in https://host.example.com/path' };
  }
  const secure = scheme.toLowerCase() === 'https';
  if (!secure && scheme.toLowerCase() !== 'http') return { problem: 'must start with https:// or http://' };
  if (authority.includes('@')) {
    return { problem: 'must not contain a user name or password: remove everything up to and including the "@"' };
  }
  if (fragment !== undefined) return { problem: 'must not contain a fragment: remove "#" and everything after it' };
  if (query !== undefined && !rules.allowQuery)
    return { problem: 'must not contain a query: remove "?" and everything after it' };
  if (!URI_CHARACTERS.test(text)) {
    return {
      problem:
        'contains a character that is not allowed in a URL: percent-encode it, or write a host name in its ASCII form',
    };
  }
  if (hasDotSegments(path))
    return { problem: 'must not contain "." or ".." as a path segment: write the resulting path' };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.port === '0') return { problem: 'invalid host or port: check them' };
  if (!secure && !rules.allowInsecureHttp && !mayUsePlainHttp(url.hostname.replace(/\.$/, ''))) {
    return {
      problem: `must be https, because plain http would show ${rules.shows ?? 'tokens'} to the network outside this machine and cluster: use https, or set allow_insecure_http: true next to it if you trust the network`,
    };
  }
  return { value: { origin: url.origin, host: url.host, path } };
}

export function checkUrl(text: string | undefined, node: ConfigNode, rules: UrlRules): void {
  if (text !== undefined) valueOrReport(readHttpUrl(text, rules), node);
}

/** The canonical URI of an MCP server: no query, no fragment, no trailing slash. */
export function canonicalUri(upstream: Upstream): string {
  return upstream.origin + upstream.path.replace(/(?<!\/)\/+$/, '');
}
