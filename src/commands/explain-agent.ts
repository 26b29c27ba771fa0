import { type Agents, agentHeaders, identitiesOf } from '../config/agents.ts';
import type { Config } from '../config/config.ts';
import { type Route, sendsAgentToken } from '../config/route.ts';
import { describeError, type ErrorCode } from '../error-catalogue.ts';
import { UsageError } from './command.ts';

/**
 * Explains which agents may use a route, and how cambist knows them. Undefined without `agents` in the config.
 * @param name of the agent that sends the request, if that is given
 * @throws {UsageError} for an unknown name
 */
export function explainAgent(route: Route, { agents }: Config, name: string | undefined) {
  const known = agents?.known ?? [];
  const agent = known.find((each) => each.name === name);
  if (name !== undefined && agent === undefined) {
    if (agents === undefined) throw new UsageError('--agent: the config has no agents: add them, or remove --agent');
    const names = known.map((each) => each.name).join(', ');
    throw new UsageError(`--agent: agents.known has no "${name}": known agents are ${names}`);
  }
  if (agents === undefined) return undefined;
  const identities = agent && identitiesOf(agent, agents.token ?? []).map((identity) => identity.replace('\n', ' '));
  const hasToken = agent?.subject !== undefined || agent?.serviceAccount !== undefined;
  return {
    served: route.agents.length === 0 ? known.map((each) => each.name) : route.agents,
    known_by: waysToKnow(agents),
    name,
    /** A SPIFFE ID, or the issuer and the subject of a token. */
    identities,
    refused: agent && refusal(route, agent.name, hasToken),
  };
}

function waysToKnow({ token = [], certificate, forwarded }: Agents): string[] {
  return [
    ...token.map(({ header, issuer }) => `token of ${issuer} in the header "${header}"`),
    ...(certificate ? ['client certificate'] : []),
    ...(forwarded === undefined ? [] : [`${forwarded.header} of ${forwarded.from.join(' or ')}`]),
  ];
}

/** @returns the status and code of the error that the agent gets */
function refusal(route: Route, name: string, hasToken: boolean): string | undefined {
  const code: ErrorCode | undefined =
    route.agents.length > 0 && !route.agents.includes(name)
      ? 'ERR_AGENT_NOT_ALLOWED'
      : sendsAgentToken(route) && !hasToken
        ? 'ERR_AGENT_UNKNOWN'
        : undefined;
  return code && `${describeError(code).status} ${code}`;
}

export function explainAgentToken(agents: Agents | undefined): string {
  const headers = new Set(agentHeaders(agents && { ...agents, forwarded: undefined }));
  return `<token of the agent from the header ${[...headers].map((header) => `"${header}"`).join(' or ')}>`;
}
