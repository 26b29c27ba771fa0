/** Preloaded into a server that does not verify tokens. Verifies the token of each request before the server receives it. */
import { type IncomingMessage, Server, type ServerResponse } from 'node:http';
import { createBearerGate } from '../../harness/bearer-gate.ts';

const { GATE_ISSUER: issuer = '', GATE_JWKS_URI: jwksUri = '', GATE_AUDIENCE: audience = '' } = process.env;
const gate = createBearerGate({ issuer, jwksUri, audience });
const emit = Server.prototype.emit as (this: Server, event: string | symbol, ...args: unknown[]) => boolean;

Server.prototype.emit = function gated(this: Server, event: string | symbol, ...args: unknown[]): boolean {
  if (event !== 'request') return emit.call(this, event, ...args);
  const [request, response] = args as [IncomingMessage, ServerResponse];
  gate(request, response).then(
    (claims) => claims !== undefined && emit.call(this, event, request, response),
    () => response.destroy(),
  );
  return true;
};
