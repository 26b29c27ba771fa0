import type { IncomingMessage } from 'node:http';
import type { Agents } from '../config/agents.ts';
import { type Route, sendsAgentToken } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { type Agent, type Identify, isOfAgent } from '../identity/identify.ts';
import { oncePer } from '../secrets/secret.ts';
import type { Actor } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import { readClaims } from '../tokens/token-text.ts';
import { headerTokens } from './caller-tokens.ts';
import { headerValues } from './headers.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { CallerToken } from './read-caller-token.ts';
import type { Routed } from './steps.ts';

/** Finds the agent that sent a message. Undefined where the config names none. @throws {CambistError} as `Identify` */
export function senderOf(
  identify: Identify,
  agents: Agents | undefined,
  { socket, rawHeaders }: IncomingMessage,
  isDataPlane = false,
): Agent | undefined | Promise<Agent> {
  return identify(agents, socket, (name) => headerValues(rawHeaders, name), isDataPlane);
}

/** The same for a request. Within a CONNECT, it is the agent that sent the CONNECT. */
export function agentOf({ incoming, arrival, active }: ProxyRequest, identify: Identify) {
  return senderOf(identify, active.config.agents, arrival?.connect ?? incoming, arrival?.wayIn === 'decision');
}

/** Checks that the agent may use the route. @throws {CambistError} ERR_AGENT_NOT_ALLOWED */
export function assertAllowed({ name, agents }: Route, agent: Agent): void {
  if (agents.length === 0 || agents.includes(agent.name)) return;
  throw new CambistError(
    'ERR_AGENT_NOT_ALLOWED',
    `route "${name}" does not serve agent "${agent.name}": list it in the route's agents if it may use the route`,
  );
}

/** An agent must not stand in for a user. @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID */
export function assertNoAgent({ request, route }: Routed, { subject, rawHeaders }: CallerToken): void {
  const { agents } = request.active.config;
  if (agents === undefined) return;
  const isForwarded = route.credential.kind === 'passthrough';
  const forwarded = isForwarded ? headerTokens(rawHeaders, ['authorization', route.subjectToken.header]) : [];
  // An introspection may leave out what the token itself says.
  const callers = [
    ...forwarded.map(readClaims),
    ...(subject === undefined ? [] : [ownClaims(subject), subject.introspected]),
  ];
  if (!callers.some((claims) => isOfAgent(claims, agents))) return;
  const message = "the caller's token is one of an agent: send the token of the user";
  throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', message);
}

const ownClaims = oncePer(({ token }: Subject) => readClaims(token.reveal()));

/** The party that acts for the caller, on a route that names it to the authorization server. */
export function actorOn(route: Route, agent: Agent): Actor | undefined {
  return sendsAgentToken(route) ? agent.actor : undefined;
}
