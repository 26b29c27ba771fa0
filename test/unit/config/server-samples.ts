import assert from 'node:assert/strict';
import { configOf, ROUTE } from './sample.ts';

export function withServer(lines: string): string {
  return `version: 1\nauthorization_servers:\n  main:\n${lines.replaceAll(/^(?=.)/gm, '    ')}${ROUTE}`;
}

export function serverOf(lines: string) {
  const [server] = configOf(withServer(lines)).authorizationServers;
  assert.ok(server !== undefined);
  return server;
}

export function clientAuth(lines: string): string {
  return `issuer: https://idp.example.com\nclient_id: cambist\nclient_auth:\n${lines.replaceAll(/^(?=.)/gm, '  ')}`;
}
