import { hash } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Clock } from '../clock/clock.ts';
import { type Agents, type AgentTokens, identitiesOf, tokenIdentity } from '../config/agents.ts';
import { CambistError } from '../errors.ts';
import { clientCertificate } from '../listeners/client-certificates.ts';
import { shortened } from '../observability/shortened.ts';
import { oncePer } from '../secrets/secret.ts';
import { parseSpiffeId, spiffeIdOf } from '../spiffe/spiffe-id.ts';
import type { Actor } from '../tokens/session.ts';
import { checkExpiry, claimsOf, createSubjectReader, type Subject } from '../tokens/subject.ts';
import type { SubjectVerifier } from '../tokens/subject-verifier.ts';
import type { Claims } from '../tokens/token-text.ts';

/** The agent that sent a request. */
export interface Agent {
  /** As in `agents.known`. */
  readonly name: string;
  /** The agent's token as actor token. An agent that is known by its certificate alone has none. */
  readonly actor: Actor | undefined;
}

/** Returns every line of a header. @param name lower case */
type Values = (name: string) => readonly string[];

interface IdentifyOptions {
  readonly verifier: Pick<SubjectVerifier, 'verify'>;
  readonly clock: Clock;
}

/**
 * Finds the agent that sent a request, by its token and its certificate, or the certificate that a proxy forwards. All of them are
 * checked again at each request. Synchronous where the token is known to be valid.
 * @param agents undefined: only the client certificate of the connection is checked
 * @param isDataPlane the connection is of a data plane that asks for decisions: its own certificate is not the agent's
 * @throws {CambistError} ERR_AGENT_UNKNOWN, ERR_STS_UNAVAILABLE, ERR_CREDENTIAL_UNAVAILABLE
 */
export type Identify = ReturnType<typeof createIdentify>;

export function createIdentify({ verifier, clock }: IdentifyOptions) {
  const reader = createSubjectReader();

  /** The verified token of the agent. Undefined where it sent none. */
  function readToken(tokens: readonly AgentTokens[], connection: Socket, values: Values) {
    const [header, ...others] = headersOf(tokens).filter((name) => values(name).length > 0);
    if (header === undefined) return undefined;
    if (others.length > 0) throw unknown('it has several tokens of agents');
    const subject = asAgent(() => reader(connection, header, values(header)));
    if (subject === undefined) return undefined;
    const claims = claimsOf(subject);
    if (claims === undefined) throw unknown('its token is not a JWT');
    const rules = tokens.find((each) => each.header === header && each.issuer === claims.iss);
    if (rules === undefined) throw unknown('the issuer of its token is not in agents.token');
    asAgent(() => checkExpiry(subject, clock));
    const verifying = asAgent(() => verifier.verify(subject, rules));
    return verifying === undefined ? subject : verifying.then(() => subject, throwAsAgent);
  }

  return (
    agents: Agents | undefined,
    connection: Socket,
    values: Values,
    isDataPlane = false,
  ): Agent | undefined | Promise<Agent> => {
    const certificate = clientCertificate(connection, clock.wallMs());
    if (agents === undefined) return undefined;
    const own = certificate && spiffeIdOf(certificate)?.id;
    const byCertificate =
      forwardedIdentity(agents, own, values) ?? (agents.certificate && !isDataPlane ? own : undefined);
    const find = (subject: Subject | undefined): Agent =>
      known(agents, byCertificate, subject, () => droppedHeader(agents, own, values));
    const token = readToken(agents.token ?? [], connection, values);
    return token instanceof Promise ? token.then(find) : find(token);
  };
}

const headersOf = oncePer((tokens: readonly AgentTokens[]) => [...new Set(tokens.map(({ header }) => header))]);

/** The SPIFFE ID that a listed proxy forwards. Its own gives way to this one. */
function forwardedIdentity({ forwarded }: Agents, own: string | undefined, values: Values): string | undefined {
  const lines =
    forwarded !== undefined && own !== undefined && forwarded.from.includes(own) ? values(forwarded.header) : [];
  if (lines.length === 0) return undefined;
  const id = readForwardedId(lines);
  if (id === undefined) throw unknown(`${forwarded?.header} does not name exactly one agent`);
  return id;
}

/** The end of a message about an unknown agent. Its identity may have been forwarded, but by no listed proxy. */
function droppedHeader({ forwarded }: Agents, own: string | undefined, values: Values): string {
  if (forwarded === undefined || values(forwarded.header).length === 0) return '';
  if (own !== undefined && forwarded.from.includes(own)) return '';
  return `; ${forwarded.header} was dropped, because agents.forwarded.from does not list the client`;
}

/** Names of agents by their identities. */
const agentNames = oncePer(({ known, token = [] }: Agents): ReadonlyMap<string, string> => {
  return new Map(
    known.flatMap((agent) => identitiesOf(agent, token).map((identity) => [identity, agent.name] as const)),
  );
});

function known(
  agents: Agents,
  byCertificate: string | undefined,
  subject: Subject | undefined,
  more: () => string,
): Agent {
  const { actor, identity } = subject === undefined ? NO_TOKEN : actorOf(subject);
  const identities = [byCertificate, identity].filter((each) => each !== undefined);
  const [name, other] = identities.map((each) => agentNames(agents).get(each) ?? unlisted(each, more()));
  if (name === undefined)
    throw unknown(`it has neither a token of an agent nor a certificate with a SPIFFE ID${more()}`);
  if (other !== undefined && other !== name) throw unknown(`its certificate is of "${name}", its token of "${other}"`);
  return { name, actor };
}

const NO_TOKEN = { actor: undefined, identity: undefined };

const actorOf = oncePer((subject: Subject): { readonly actor: Actor; readonly identity: string } => {
  const { iss, sub } = claimsOf(subject) ?? {};
  if (typeof sub !== 'string') throw unknown('its token has no sub');
  const identity = tokenIdentity(String(iss), sub);
  return { identity, actor: { token: subject.token, id: hash('sha256', identity, 'base64url') } };
});

export function isOfAgent(claims: Claims, { token = [] }: Agents): boolean {
  const { iss, aud } = claims ?? {};
  const audiences = [aud].flat();
  return token.some(
    ({ issuer, audience }) => issuer === iss && audiences.some((each) => audience.includes(each as string)),
  );
}

/** Longest part of an identity in a message. */
const MAX_SHOWN = 200;

function unlisted(identity: string, more: string): never {
  const [issuer = '', ...subject] = identity.split('\n').map((part) => shortened(part, MAX_SHOWN));
  const what = subject.length === 0 ? `spiffe_id "${issuer}"` : `subject "${subject.join(' ')}" of issuer "${issuer}"`;
  throw unknown(`agents.known has no ${what}${more}`);
}

function unknown(why: string): CambistError {
  return new CambistError('ERR_AGENT_UNKNOWN', `the request is not of a known agent: ${why}`);
}

function asAgent<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    return throwAsAgent(error);
  }
}

/** The rules are those of callers' tokens, and so are the errors. */
function throwAsAgent(error: unknown): never {
  if (!(error instanceof CambistError) || error.status !== 401) throw error;
  throw unknown(error.message.replace('the subject token', 'its token'));
}

/** Longest header that is read. Envoy's own has a few hundred characters, and one with a whole certificate a few thousand. */
const MAX_FORWARDED_LENGTH = 16 * 1024;

/** `Key=value`. A value that contains a separator is quoted. */
const FIELD = /^([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)(;|$)/;

/**
 * Reads the SPIFFE ID of the client that a proxy forwards. Only a header of one proxy, with one URI, is clear: a client can send the
 * header as well, and a proxy that appends its own leaves a comma.
 * @param lines every line of the header
 * @returns undefined where it is ambiguous, malformed, or names no workload
 * @see https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert
 */
export function readForwardedId(lines: readonly string[]): string | undefined {
  const [line = ''] = lines;
  if (lines.length > 1 || line.length > MAX_FORWARDED_LENGTH) return undefined;
  const uris: string[] = [];
  let rest = line;
  while (rest !== '') {
    const [field = '', key = '', value = ''] = FIELD.exec(rest) ?? [];
    if (field === '') return undefined;
    if (key.toLowerCase() === 'uri') uris.push(value.replace(/^"(.*)"$/, '$1'));
    rest = rest.slice(field.length);
  }
  const [uri, ...others] = uris;
  const id = uri === undefined || others.length > 0 ? undefined : parseSpiffeId(uri);
  return id === undefined || id.path === '' ? undefined : id.id;
}
