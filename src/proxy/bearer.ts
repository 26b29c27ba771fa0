import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/config.ts';
import type { Cause } from '../observability/token-observer.ts';
import type { RouteTable } from '../routing/route-table.ts';
import type { Broker } from '../tokens/broker.ts';
import { hasEnded, type IssuedToken } from '../tokens/issued.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import { callerTraceId } from './caller-ids.ts';
import { headerValues } from './headers.ts';
import type { Bearer, Passage } from './passage.ts';

export interface BearerOptions {
  readonly broker: Broker;
  readonly clock: Clock;
}

/**
 * The token that a request bears upstream, and what becomes of it as the upstream answers; at once where the token is known. Undefined on
 * a route without.
 * @throws {CambistError} all that an exchange may throw
 */
export function bearerFor(
  passage: Passage,
  route: Route,
  subject: Subject | undefined,
  sessionHeader: string,
  table: RouteTable,
  options: BearerOptions,
): Bearer | undefined | Promise<Bearer> {
  const ids = headerValues(passage.request.rawHeaders, sessionHeader);
  const session: Session = { subject, id: ids.length === 0 ? undefined : ids.join(',') };
  const asking = { passage, route, session, sessionHeader, table, options };
  const token = obtain(asking);
  if (token instanceof Promise) return token.then((issued) => new PassageBearer(asking, issued));
  return token && new PassageBearer(asking, token);
}

/** Who asks for a token, and for what. */
interface Asking {
  readonly passage: Passage;
  readonly route: Route;
  readonly session: Session;
  readonly sessionHeader: string;
  readonly table: RouteTable;
  readonly options: BearerOptions;
}

function obtain({ passage, route, session, options }: Asking): IssuedToken | undefined | Promise<IssuedToken> {
  const lookup = options.broker.lookUp(route, session, () => causeOf(passage));
  passage.cache = lookup.result;
  switch (lookup.result) {
    case 'bypass':
      return undefined;
    case 'hit':
      return lookup.token;
    case 'negative':
      throw lookup.error;
    case 'miss':
    case 'joined':
      return timed(passage, lookup.pending, options.clock);
  }
}

/** A request that the upstream refuses waits more than once: for the token's successor, or for a wider one. */
async function timed<Token>(passage: Passage, pending: Promise<Token>, clock: Clock): Promise<Token> {
  const startedMs = clock.monotonicMs();
  try {
    return await pending;
  } finally {
    passage.exchangeMs = (passage.exchangeMs ?? 0) + clock.monotonicMs() - startedMs;
  }
}

function causeOf(passage: Passage): Cause {
  return {
    peer: passage.request.socket.remoteAddress,
    requestId: passage.id,
    traceId: passage.span?.traceId ?? callerTraceId(passage.request.rawHeaders, passage.credentialHeaders),
    span: passage.span,
  };
}

/** A class, as there is one for each request: most of these are never called, and functions would be made for each. */
class PassageBearer implements Bearer {
  readonly #asking: Asking;
  /** Of the first attempt. */
  readonly token: IssuedToken;
  #latest: IssuedToken;

  constructor(asking: Asking, token: IssuedToken) {
    this.#asking = asking;
    this.token = token;
    this.#latest = token;
  }

  hasEnded(): boolean {
    return hasEnded(this.#latest, this.#asking.options.clock);
  }

  async replace(): Promise<IssuedToken> {
    this.#latest = (await obtain(this.#asking)) ?? this.#latest;
    return this.#latest;
  }

  refuse(): boolean {
    const { options, route, session } = this.#asking;
    return options.broker.refuse(route, session, this.#latest);
  }

  renew(): Promise<IssuedToken> | undefined {
    return this.refuse() ? this.replace() : undefined;
  }

  stepUp(wanted: readonly string[]): Promise<IssuedToken> | undefined {
    const { options, passage, route, session } = this.#asking;
    const pending = options.broker.stepUp(route, session, this.#latest, wanted, () => causeOf(passage));
    return (
      pending &&
      timed(passage, pending, options.clock).then(({ token, added }) => {
        this.#latest = token;
        passage.stepUp = added;
        return token;
      })
    );
  }

  answered(status: number, header: (name: string) => string | undefined): void {
    const { options, passage, route, session, sessionHeader, table } = this.#asking;
    const { method } = passage.request;
    const done = status >= 200 && status < 300;
    if (session.id === undefined) {
      const opened = method === 'POST' && done ? header(sessionHeader) : undefined;
      if (opened !== undefined) options.broker.openSession(route, session, opened, this.#latest);
    } else if (status === 404 || (method === 'DELETE' && done)) {
      const routes = session.subject === undefined ? [route] : siblings(passage, route, table);
      for (const ended of routes) options.broker.endSession(ended, session, done ? 'client' : 'upstream');
    }
  }
}

/** The routes that share a backend's sessions with this one, itself among them: those that other messages would take. */
function siblings({ target }: Passage, route: Route, table: RouteTable): readonly Route[] {
  const candidates = target === undefined ? [] : table.candidates(target);
  return [route, ...candidates.filter((other) => other !== route && other.credential.kind === 'exchange')];
}
