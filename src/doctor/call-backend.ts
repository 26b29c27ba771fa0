import type { Route } from '../config/route.ts';
import { redact } from '../observability/logged-error.ts';
import { reasonInChallenges } from '../proxy/challenges.ts';
import { type IssuedToken, valueFor } from '../tokens/issued-token.ts';
import { hideCredentials, sentInAuthorization } from '../tokens/sent-values.ts';
import { bareToken, readClaims } from '../tokens/token-text.ts';
import type { Pool } from './check-context.ts';
import { type Finding, fine, problem, shortAscii, showShortAscii } from './finding.ts';
import { personalValues } from './issued-findings.ts';
import {
  DISCOVER,
  INITIALIZE,
  isWebPage,
  type McpMessage,
  type ProbeResponse,
  type ProbeTarget,
  probeTarget,
  sendMessage,
} from './mcp-probe.ts';
import { tokenRefusal } from './token-refusal.ts';
import { codeOf, settingsOfUpstream, unreachable } from './unreachable.ts';

/** Backends may start a session or call their own servers before they respond. */
const RESPONSE_MS = 10_000;

/** Calls the backend of a route with the issued token: `initialize`, then `server/discover`. One of them must succeed. */
export async function callBackend(route: Route, token: IssuedToken, pool: Pool): Promise<Finding> {
  try {
    const target = await probeTarget(route, pool, RESPONSE_MS);
    const responses = [await call(target, INITIALIZE, token, route), await call(target, DISCOVER, token, route)];
    if (responses.some((response) => isSuccess(response) && !isWebPage(response))) {
      const statuses = responses.map(({ method, status }) => `${method} returns ${status}`);
      return fine('call_accepted', `the backend accepts the ${nounOf(route)}: ${statuses.join('; ')}`);
    }
    const said = responses.map((response) => describe(response, token));
    const refused = responses.find(({ status }) => status === 401 || status === 403);
    if (refused === undefined) {
      return problem('call_failed', `the backend does not accept an MCP request: ${said.join('; ')}`, {
        fix: 'set upstream of the route to the URL of the MCP endpoint, often with the path /mcp',
      });
    }
    return route.credential.kind === 'secret' ? refusedSecret(said) : refusedFinding(refused, said, token);
  } catch (error) {
    const code = codeOf(error);
    const {
      code: cause,
      why,
      fix,
    } = await unreachable({ url: route.upstream.origin, error, ...settingsOfUpstream(route) });
    // Only a backend that was reached has a line about the call in its log.
    const isReached = code === 'TimeoutError' || cause === 'connection_failed';
    return problem('call_failed', `the call with the ${nounOf(route)} failed (${shortAscii(code)})`, {
      ...(!isReached && why !== undefined && { why }),
      fix: isReached ? "check the backend's log for this moment" : (fix ?? ''),
    });
  }
}

function isSuccess({ status }: ProbeResponse): boolean {
  return status >= 200 && status < 300;
}

function nounOf({ credential }: Route): string {
  return credential.kind === 'secret' ? 'secret' : 'issued token';
}

function refusedSecret(said: readonly string[]): Finding {
  return problem('backend_refuses_secret', `the backend refuses the secret: ${said.join('; ')}`, {
    why: 'the secret is wrong, revoked or expired, or belongs in another header',
    fix: "write a valid secret into the file of the route, and compare send with the backend's documentation",
  });
}

interface CallResponse extends ProbeResponse {
  readonly method: McpMessage['method'];
}

/** Sends a message with the token. Repeats it once if the backend requires a nonce in the proof (RFC 9449 section 9). */
async function call(
  target: ProbeTarget,
  message: McpMessage,
  token: IssuedToken,
  { send: sendTo }: Route,
): Promise<CallResponse> {
  const { authorization, dpop } = token;
  const { origin, path } = target;
  const send = async () => {
    const proof = dpop === undefined ? {} : { dpop: await dpop.prove('POST', origin, path) };
    const credential =
      sendTo === undefined
        ? { authorization: authorization.reveal() }
        : { [sendTo.header.toLowerCase()]: valueFor(sendTo, token) };
    return sendMessage(target, message, { ...credential, ...proof });
  };
  let response = await send();
  if (response.status === 401 && dpop?.learn(origin, response.header('dpop-nonce')) === true) response = await send();
  return { ...response, method: message.method };
}

/** Method, status, challenge and body of a response, without anything that may be a token. */
function describe(response: CallResponse, { authorization }: IssuedToken): string {
  const { method, status, header, text } = response;
  const value = authorization.reveal();
  const sent = [...sentInAuthorization(value), ...personalValues(readClaims(bareToken(value)))];
  const hidden = (part: string) => redact(hideCredentials(part, sent));
  const challenge = header('www-authenticate');
  const parts = [`${method} returns ${status}`];
  if (challenge !== undefined) parts.push(`WWW-Authenticate: ${hidden(challenge)}`);
  if (isSuccess(response) && isWebPage(response)) parts.push('a web page');
  const isError = status >= 400 && text.trim() !== '' && !/^\s*</.test(text);
  if (isError) parts.push(`body: ${hidden(text.trim())}`);
  return parts.join(', ');
}

function refusedFinding(refused: CallResponse, said: readonly string[], token: IssuedToken): Finding {
  const finding = tokenRefusal(wordsOf(refused), bareToken(token.authorization.reveal()), showShortAscii);
  return { ...finding, what: `${finding.what}: ${said.join('; ')}` };
}

function wordsOf({ header, text }: CallResponse): string {
  const { error = '', description = '' } = reasonInChallenges([header('www-authenticate') ?? '']) ?? {};
  return [error, description, text].join(' ');
}
