import type { Config } from '../config/config.ts';
import { HOP_BY_HOP } from '../config/header-names.ts';
import type { Route } from '../config/route.ts';
import { type KnownName, rememberNames } from '../transport/known-names.ts';
import { containsToken } from './caller-tokens.ts';
import { connectionOptions, headerValues, type RawHeaders, REQUEST_ID } from './headers.ts';

export interface RequestHeaderRules {
  readonly host: string;
  /** Headers that are dropped, in addition to the hop-by-hop headers: lower case, with dashes for underscores. */
  readonly withheld: ReadonlySet<string>;
  /** The caller's tokens. A header that contains one of them is dropped. */
  readonly callerTokens: readonly string[];
  readonly requestId: string;
}

/**
 * Builds the headers that the upstream gets, without the issued token, which `send.ts` adds.
 * @see RFC 9110 section 7.6.1
 */
export function upstreamHeaders(raw: RawHeaders, rules: RequestHeaderRules): string[] {
  const listed = connectionOptions(headerValues(raw, 'connection'));
  const headers = ['host', rules.host];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const { isReplaced, key, dashed } = nameAt(i, name);
    if (isReplaced || rules.withheld.has(dashed) || listed?.has(key) === true) continue;
    if (containsToken(name, rules.callerTokens) || containsToken(value, rules.callerTokens)) continue;
    headers.push(name, value);
  }
  headers.push(REQUEST_ID, rules.requestId);
  return headers;
}

/** Asks the backend for no content coding, because the endpoint in an event stream has to be read. */
export function unencoded(headers: readonly string[]): string[] {
  const kept = headers.filter((_, at) => (headers[at - (at % 2)] as string).toLowerCase() !== 'accept-encoding');
  return [...kept, 'accept-encoding', 'identity'];
}

interface CallerName extends KnownName {
  /** Lower case. */
  readonly key: string;
  /** The key with dashes for underscores. */
  readonly dashed: string;
  /** The upstream never gets the caller's header: it belongs to the connection, or cambist sets its own. */
  readonly isReplaced: boolean;
}

const nameAt = rememberNames((name): CallerName => {
  const key = name.toLowerCase();
  const isReplaced = key === 'host' || key === REQUEST_ID || HOP_BY_HOP.has(key);
  return { name, key, dashed: withDashes(key), isReplaced };
});

/** Names of headers that are not sent upstream, in lower case and with dashes for underscores. */
export interface WithheldHeaders {
  /** One set for most routes, so that it stays in the processor's cache with a thousand routes. */
  readonly common: ReadonlySet<string>;
  /** Passthrough routes have a set of their own, and so have those with a credential in another header than `Authorization`. */
  readonly onRoute: ReadonlyMap<Route, ReadonlySet<string>>;
}

/** Frameworks and gateways take the method or path of a request from these headers. */
export const OVERRIDES: readonly string[] = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-method',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
];

/** @param tokenHeaders lower-case names of the headers that may carry a caller's token */
export function withheldHeaders(config: Config, tokenHeaders: ReadonlySet<string>): WithheldHeaders {
  const { routes, teams, hostHeader } = config;
  const always = [
    ...(hostHeader === undefined ? [] : [withDashes(hostHeader)]),
    ...(teams.length > 0 || routes.some(dependsOnRequest) ? OVERRIDES : []),
  ];
  const credentials = [...tokenHeaders, 'dpop'].map(withDashes);
  const common = new Set([...credentials, ...always]);
  const onRoute = new Map<Route, ReadonlySet<string>>();
  for (const route of routes) {
    const { credential, send } = route;
    if (credential.kind === 'passthrough') onRoute.set(route, new Set([...foreign(credentials, route), ...always]));
    // The agent must not send a second value of the header.
    else if (send !== undefined) onRoute.set(route, new Set([...common, withDashes(send.header.toLowerCase())]));
  }
  return { common, onRoute };
}

/** With an override header a request could take one route and reach what another route, or a caller, is for. */
function dependsOnRequest({ match, unattended }: Route): boolean {
  return match.path !== '/' || match.conditions !== undefined || unattended !== undefined;
}

/** A passthrough route sends the caller's token and proof, but not the tokens of other routes. */
function foreign(credentials: readonly string[], { subjectToken }: Route): string[] {
  const own = ['authorization', 'dpop', withDashes(subjectToken.header)];
  return credentials.filter((name) => !own.includes(name));
}

/** CGI and WSGI servers read `X_User_Token` and `X-User-Token` as the same header. @param name lower case */
export function withDashes(name: string): string {
  return name.includes('_') ? name.replaceAll('_', '-') : name;
}
