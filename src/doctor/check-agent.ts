import { request } from 'node:http';
import type { Inbound } from '../config/inbound.ts';
import { type Finding, type Found, fine, problem, warning } from './finding.ts';
import { codeOf } from './unreachable.ts';

/** The agent may take this long to accept a connection and to respond. */
const PATIENCE_MS = 2000;

/** A lower status shows that the agent works: it may have no such path, or require a token. */
const FIRST_SERVER_ERROR = 500;

const FIX =
  'start the agent where inbound.agent says, or correct inbound.agent: agents often read their port from PORT';

/** Sends the agent a GET without a token, for an open path if there is one. */
export function checkAgent({ agent, open }: Inbound, found: Found): Promise<void> {
  const path = open.find(({ isPrefix }) => !isPrefix)?.path ?? '/';
  const { origin, socketPath } = agent;
  const where = socketPath === undefined ? origin : `unix:${socketPath}`;
  return new Promise((resolve) => {
    const settle = (finding: Finding): void => {
      sent.destroy();
      found(finding);
      resolve();
    };
    const sent = request(`${origin}${path}`, {
      agent: false,
      timeout: PATIENCE_MS,
      ...(socketPath !== undefined && { socketPath }),
    });
    sent.once('response', ({ statusCode = 0 }) => settle(responded(where, path, statusCode)));
    sent.once('timeout', () =>
      settle(
        warning('agent_silent', `the agent at ${where} did not respond to GET ${path} in time`, {
          why: 'it is overloaded, or something else listens there',
          fix: "check the agent's log, and inbound.agent",
        }),
      ),
    );
    sent.on('error', (error) => settle(failed(where, codeOf(error))));
    sent.end();
  });
}

function responded(where: string, path: string, status: number): Finding {
  if (status < FIRST_SERVER_ERROR)
    return fine('agent_reached', `the agent at ${where} responds, with ${status} to GET ${path}`);
  return warning('agent_error', `the agent at ${where} responds with ${status} to GET ${path}`, {
    fix: "check the agent's log: it may not have started completely",
  });
}

function failed(where: string, code: string): Finding {
  if (code.startsWith('HPE_')) {
    return problem('agent_not_http', `the agent at ${where} does not respond in plain HTTP (${code})`, {
      why: 'it expects TLS there, or something else listens there',
      fix: 'let the agent serve plain HTTP on loopback, and set inbound.agent to that address',
    });
  }
  const why = ['ECONNREFUSED', 'ENOENT'].includes(code) ? `nothing listens there (${code})` : code;
  return problem('agent_unreachable', `the agent at ${where} cannot be reached`, { why, fix: FIX });
}
