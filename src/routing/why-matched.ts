import type { Match } from '../config/match.ts';

/** The conditions of a route, which a request met. They are from the config, and nothing in them is from the request. */
export function whyMatched({ host, path, conditions }: Match): string {
  const { methods, mcpMethods, mcpNames } = conditions ?? {};
  return [
    host === undefined ? 'any host' : `host ${host}`,
    `path ${path}`,
    ...(methods === undefined ? [] : [`method ${methods.join(' or ')}`]),
    ...(mcpMethods === undefined ? [] : [`MCP method ${mcpMethods.join(' or ')}`]),
    ...(mcpNames === undefined ? [] : [`MCP name ${mcpNames.join(' or ')}`]),
  ].join(', ');
}
