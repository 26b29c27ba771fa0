import assert from 'node:assert/strict';
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

/** The problems of a change of a valid config: `old => new`, or keys that follow it. */
export function problemsOfChange(line: string): string[] {
  const [old = '', replacement] = line.trim().split(' => ');
  return problemsOf(replacement === undefined ? VALID + line : VALID.replace(old, replacement));
}

/** The problems of a text as `path: message`. */
export function messagesOf(text: string): string[] {
  return problemsOf(text).map((problem) => problem.replace(/^\d+:\d+: /, ''));
}

export function configOf(text: string) {
  const { config, problems } = parseConfig(text, 'c');
  if (config === undefined) throw new Error(problems.map(formatProblem).join('\n'));
  return config;
}

/** A config whose only route has these lines beside name and match. */
export function withRoute(lines: string, top = SERVER): string {
  return `version: 1\n${top}routes:\n  - name: only\n    match: { path: / }\n${indent(lines)}`;
}

export function routeOf(lines: string, top?: string) {
  const [route] = configOf(withRoute(lines, top)).routes;
  return route ?? assert.fail('no route');
}

export const routeProblems = (lines: string, top?: string) => problemsOf(withRoute(lines, top));

export function indent(lines: string): string {
  return lines.replaceAll(/^(?=.)/gm, '    ');
}

/** A config whose only authorization server has these lines. */
export function withServer(lines: string): string {
  return `version: 1\nauthorization_servers:\n  main:\n${indent(lines)}${ROUTE}`;
}

/**
 * Compares the problems of texts with those that a table names.
 * @param table each text on a line, with `\n` for a new line in it, and below it a line for each problem, after `→ `
 */
export function assertProblems(table: string, problemsOfLine: (line: string) => string[]): void {
  for (const row of table.trim().split(/\n(?!→)/)) {
    const [line = '', ...problems] = row.split('\n→ ');
    assert.ok(problems.length > 0, line);
    assert.deepEqual(problemsOfLine(`${line.replaceAll('\\n', '\n')}\n`), problems, line);
  }
}
