import type { Upstream } from './config.ts';
import type { Reading } from './config-node.ts';
import { mayUsePlainHttp } from './plain-http.ts';

export interface HttpUrl {
  /** `scheme://host[:port]`, without default port. */
  readonly origin: string;
  /** `host[:port]`. */
  readonly host: string;
  /** As written; `''` for none. */
  readonly path: string;
}

export interface UrlRules {
  readonly allowInsecureHttp: boolean;
  readonly allowQuery: boolean;
}

/** Scheme, authority, path, query and fragment (RFC 3986 appendix B). */
const PARTS = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/;
const URI_CHARACTERS = /^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$/;

/** Reads the URL of an upstream, an issuer or an endpoint. What is wrong is told without the URL, which may hold a secret. */
export function readHttpUrl(text: string, rules: UrlRules): Reading<HttpUrl> {
  const [, scheme, authority, path, query, fragment] = PARTS.exec(text) ?? [];
  if (scheme === undefined || authority === undefined || path === undefined) {
    return { problem: 'must be an absolute URL, as in https://backend.example.com/mcp' };
  }
  const secure = scheme.toLowerCase() === 'https';
  if (!secure && scheme.toLowerCase() !== 'http') return { problem: 'must begin with https:// or http://' };
  if (authority.includes('@')) {
    return { problem: 'must not hold a user name or password: remove everything up to and including the "@"' };
  }
  if (fragment !== undefined) return { problem: 'must not have a fragment: remove "#" and what follows' };
  if (query !== undefined && !rules.allowQuery)
    return { problem: 'must not have a query: remove "?" and what follows' };
  if (!URI_CHARACTERS.test(text)) {
    return {
      problem: 'has a character that no URL may have: percent-encode it, and write a host name in its ASCII form',
    };
  }
  if (hasDotSegments(path))
    return { problem: 'must not have "." or ".." as a path segment: write the path it leads to' };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.port === '0') return { problem: 'has no usable host or port: check them' };
  if (!secure && !rules.allowInsecureHttp && !mayUsePlainHttp(url.hostname.replace(/\.$/, ''))) {
    return {
      problem:
        'plain http to a host that is neither on this machine nor in the cluster shows tokens to the network: use https, or set allow_insecure_http: true beside it if that network is trusted',
    };
  }
  return { value: { origin: url.origin, host: url.host, path } };
}

export function toUpstream({ origin, host, path }: HttpUrl): Upstream {
  return { origin, host, path: path === '/' ? '' : path };
}

/** The URI by which MCP clients know a server: no query, no fragment, no trailing slash. */
export function canonicalUri(upstream: Upstream): string {
  return upstream.origin + upstream.path.replace(/\/+$/, '');
}

/** Does a path have `.` or `..` as a segment, be it percent-encoded? */
export function hasDotSegments(path: string): boolean {
  return path.split('/').some((segment) => /^(?:\.|%2e){1,2}(?:;|%3b|$)/i.test(segment));
}
