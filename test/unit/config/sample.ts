import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/documents/config-node.ts';

export const SERVER = `authorization_servers:
  main:
    issuer: https://idp.example.com/realms/agents
    client_id: cambist
    client_auth:
      method: client_secret_basic
      client_secret: { env: CAMBIST_CLIENT_SECRET }
`;

export const ROUTE = `routes:
  - name: github
    match: { path: /github }
    upstream: https://github-mcp.example.com/mcp
`;

export const VALID = `version: 1\n${SERVER}${ROUTE}`;

/** The problems of a text as `line:col: path: message`. */
export function problemsOf(text: string): string[] {
  return parseConfig(text, 'c').problems.map((problem) => formatProblem(problem).slice('c:'.length));
}

export function configOf(text: string) {
  const { config, problems } = parseConfig(text, 'c');
  if (config === undefined) throw new Error(problems.map(formatProblem).join('\n'));
  return config;
}

/** The only route of a config, with these lines beside name and match. */
export function routeOf(lines: string, top = SERVER) {
  const text = `version: 1\n${top}routes:\n  - name: only\n    match: { path: / }\n${indent(lines)}`;
  const [route] = configOf(text).routes;
  if (route === undefined) throw new Error('no route');
  return route;
}

/** The problems of a config with such a route. */
export function routeProblems(lines: string, top = SERVER): string[] {
  return problemsOf(`version: 1\n${top}routes:\n  - name: only\n    match: { path: / }\n${indent(lines)}`);
}

function indent(lines: string): string {
  return lines.replaceAll(/^(?=.)/gm, '    ');
}
