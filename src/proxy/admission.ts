import type { Config, Route } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { parseRequestTarget, type RequestTarget } from '../routing/request-target.ts';
import type { RouteTable } from '../routing/route-table.ts';
import { upstreamPath } from '../routing/upstream-path.ts';
import type { Broker } from '../tokens/broker.ts';
import type { Clock } from '../tokens/clock.ts';
import type { IssuedToken } from '../tokens/issued.ts';
import type { Session } from '../tokens/session.ts';
import { checkExpiry, type Subject, type SubjectReader } from '../tokens/subject.ts';
import { headerValues, upstreamHeaders } from './headers.ts';
import type { Bearer, Passage, UpstreamLeg } from './passage.ts';
import { takeBody } from './request-body.ts';

/** A config and the route table made of it; a request keeps the one that it began with. */
export interface Serving {
  readonly config: Config;
  readonly table: RouteTable;
}

export interface AdmissionOptions {
  readonly broker: Broker;
  readonly subjects: SubjectReader;
  readonly clock: Clock;
}

/** @throws {CambistError} ERR_ROUTE_NOT_FOUND */
export function findRoute(passage: Passage, { config, table }: Serving): { route: Route; target: RequestTarget } {
  const raw = passage.request.rawHeaders;
  const named = config.hostHeader === undefined ? [] : headerValues(raw, config.hostHeader);
  const target = parseRequestTarget(passage.url, headerValues(raw, 'host'), named);
  const route = table.match(target);
  if (route === undefined) {
    throw new CambistError('ERR_ROUTE_NOT_FOUND', 'no route matches the host and path of the request');
  }
  return { route, target };
}

/**
 * From a request to all that goes upstream: the scoped bearer in place of the caller's token, headers, body. Whatever is
 * missing or in doubt ends here.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_*, and all that an exchange may throw
 */
export async function admit(
  passage: Passage,
  route: Route,
  target: RequestTarget,
  config: Config,
  options: AdmissionOptions,
): Promise<UpstreamLeg> {
  const { request } = passage;
  const raw = request.rawHeaders;
  const credentials = headerValues(raw, 'authorization');
  if (credentials.length > 1) throw ambiguous('more than one Authorization header');
  const { header } = route.subjectToken;
  const values = header === 'authorization' ? credentials : headerValues(raw, header);
  const path = upstreamPath(route, target);
  const callerTokens = route.credential.kind === 'passthrough' ? [] : tokensOf([...credentials, ...values]);
  if (callerTokens.some((token) => path.includes(token))) throw ambiguous("the caller's token in the URL as well");

  const subject = route.credential.kind === 'exchange' ? options.subjects(request.socket, header, values) : undefined;
  const bearer = await bearerFor(passage, route, subject, config, options);
  const headers = upstreamHeaders(raw, {
    host: route.upstream.host,
    withheld: withheldHeaders(route, config.hostHeader),
    callerTokens,
    requestId: passage.id,
  });
  const body = await takeBody(request, bearer === undefined ? 0 : route.retryBodyLimitBytes);
  return { path, headers, body, bearer };
}

/** Shorter than this, a value would be found in headers by chance. */
const MIN_TOKEN_LENGTH = 8;

/** Every token that the caller sent; none of them may go upstream under any name. */
function tokensOf(values: readonly string[]): string[] {
  const tokens = values.map((value) => value.trim()).map((value) => value.slice(value.lastIndexOf(' ') + 1));
  return [...new Set(tokens)].filter((token) => token.length >= MIN_TOKEN_LENGTH);
}

const withheldByHeader = new Map<string, ReadonlySet<string>>();

function withheldHeaders(route: Route, hostHeader: string | undefined): ReadonlySet<string> {
  const own = route.credential.kind === 'passthrough' ? [] : ['authorization', route.subjectToken.header];
  const names = hostHeader === undefined ? own : [...own, hostHeader];
  const key = names.join(' ');
  let withheld = withheldByHeader.get(key);
  if (withheld === undefined) {
    withheld = new Set(names);
    withheldByHeader.set(key, withheld);
  }
  return withheld;
}

async function bearerFor(
  passage: Passage,
  route: Route,
  subject: Subject | undefined,
  config: Config,
  { broker, clock }: AdmissionOptions,
): Promise<Bearer | undefined> {
  if (subject !== undefined) checkExpiry(subject, clock);
  const ids = headerValues(passage.request.rawHeaders, config.session.header);
  const session: Session = { subject, id: ids.length === 0 ? undefined : ids.join(',') };

  const obtain = async (): Promise<IssuedToken | undefined> => {
    const lookup = broker.lookUp(route, session);
    passage.cache = lookup.result;
    switch (lookup.result) {
      case 'bypass':
        return undefined;
      case 'hit':
        return lookup.token;
      case 'negative':
        throw lookup.error;
      case 'miss':
      case 'joined': {
        const startedMs = clock.monotonicMs();
        try {
          return await lookup.pending;
        } finally {
          passage.exchangeMs = clock.monotonicMs() - startedMs;
        }
      }
    }
  };
  const first = await obtain();
  if (first === undefined) return undefined;
  let token = first;
  const refuse = (): void => broker.refuse(route, session, token);
  return {
    token,
    refuse,
    async renew() {
      refuse();
      token = (await obtain()) ?? token;
      return token;
    },
    answered(status, header) {
      const { method } = passage.request;
      const done = status >= 200 && status < 300;
      if (session.id === undefined) {
        const opened = method === 'POST' && done ? header(config.session.header) : undefined;
        if (opened !== undefined) broker.openSession(route, session, opened, token);
      } else if (status === 404 || (method === 'DELETE' && done)) {
        broker.endSession(route, session);
      }
    },
  };
}

function ambiguous(what: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', `the request bears ${what}: send the token once`);
}
