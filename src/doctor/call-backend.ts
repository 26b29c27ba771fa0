import { decodeProtectedHeader } from 'jose';
import type { Route } from '../config/config.ts';
import { redact } from '../observability/logged-error.ts';
import { parseChallenges } from '../proxy/challenges.ts';
import { readClaims } from '../tokens/claims.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { hideCredentials, type SentValue } from '../tokens/sent-values.ts';
import { upstreamPeer } from '../transport/dispatchers.ts';
import type { Pool } from './check-context.ts';
import { codeOf } from './connection.ts';
import { type Finding, type FindingCode, fine, printable, problem } from './finding.ts';
import {
  DISCOVER,
  INITIALIZE,
  type McpMessage,
  type ProbeResponse,
  type ProbeTarget,
  sendMessage,
} from './mcp-probe.ts';

/** Backends may start a session or call their own servers before they respond. */
const PATIENCE_MS = 10_000;

/** Calls the backend of a route with the issued token: `initialize`, then `server/discover`. One of them must succeed. */
export async function callBackend(route: Route, token: IssuedToken, pool: Pool): Promise<Finding> {
  const { origin, path } = route.upstream;
  const peer = upstreamPeer(route);
  try {
    const dispatcher = await pool(peer);
    const target = { dispatcher, origin, path: path || '/', connectMs: peer.connectMs, patienceMs: PATIENCE_MS };
    const responses = [await call(target, INITIALIZE, token), await call(target, DISCOVER, token)];
    if (responses.some(({ status }) => status >= 200 && status < 300)) {
      const statuses = responses.map(({ method, status }) => `${method} returns ${status}`);
      return fine('call_accepted', `the backend accepts the issued token: ${statuses.join('; ')}`);
    }
    const said = responses.map((response) => describe(response, token));
    const refused = responses.find(({ status }) => status === 401 || status === 403);
    return refused === undefined ? failed(said) : refusedFinding(refused, said, token);
  } catch (error) {
    return problem('call_failed', `the call with the issued token failed (${printable(codeOf(error))})`, {
      fix: "check the backend's log for this moment",
    });
  }
}

interface CallResponse extends ProbeResponse {
  readonly method: McpMessage['method'];
}

/** Sends a message with the token. Repeats it once if the backend requires a nonce in the proof (RFC 9449 section 9). */
async function call(
  target: ProbeTarget,
  message: McpMessage,
  { authorization, dpop }: IssuedToken,
): Promise<CallResponse> {
  const { origin, path } = target;
  const send = async () => {
    const proof = dpop === undefined ? {} : { dpop: await dpop.prove('POST', origin, path) };
    return sendMessage(target, message, { authorization: authorization.reveal(), ...proof });
  };
  let response = await send();
  if (response.status === 401 && dpop?.learn(origin, response.header('dpop-nonce')) === true) response = await send();
  return { ...response, method: message.method };
}

/** Method, status, challenge and body of a response, without anything that may be a token. */
function describe({ method, status, header, text }: CallResponse, { authorization }: IssuedToken): string {
  const sent = sentValues(authorization.reveal());
  const hidden = (part: string) => redact(hideCredentials(part, sent));
  const challenge = header('www-authenticate');
  const parts = [`${method} returns ${status}`];
  if (challenge !== undefined) parts.push(`WWW-Authenticate: ${hidden(challenge)}`);
  const isError = status >= 400 && text.trim() !== '' && !/^\s*</.test(text);
  if (isError) parts.push(`body: ${hidden(text.trim())}`);
  return parts.join(', ');
}

function sentValues(authorization: string): SentValue[] {
  return [authorization, bearerIn(authorization)].map((value) => ({
    name: 'Authorization',
    value,
    isCredential: true,
  }));
}

function bearerIn(authorization: string): string {
  return authorization.replace(/^\S+ /, '');
}

function failed(said: readonly string[]): Finding {
  return problem('call_failed', `the backend does not accept an MCP request: ${said.join('; ')}`, {
    fix: 'check that the upstream of the route is an MCP endpoint',
  });
}

/** A reason for which a backend refuses a token, recognized by the backend's words. */
interface Reason {
  readonly code: FindingCode;
  readonly pattern: RegExp;
  readonly what: string;
  readonly fix: string;
}

/** In order of precedence. */
const REASONS: readonly Reason[] = [
  {
    code: 'backend_refuses_scope',
    pattern: /insufficient_scope|\bscopes?\b/i,
    what: 'the scope of the issued token',
    fix: "set the route's scope, or step_up, to the scope that the backend requires",
  },
  {
    code: 'backend_refuses_algorithm',
    pattern: /\balg(orithm)?s?\b/i,
    what: 'the signature algorithm of the issued token',
    fix: 'configure the authorization server to sign access tokens for this backend with an algorithm that the backend accepts',
  },
  {
    code: 'backend_refuses_audience',
    pattern: /\baud(ience)?s?\b/i,
    what: 'the audience of the issued token',
    fix: 'set the route\'s resource or audience to the backend\'s own name, and expect_audience to its "aud"',
  },
  {
    code: 'backend_refuses_issuer',
    pattern: /\biss(uer)?s?\b/i,
    what: 'the issuer of the issued token',
    fix: 'configure the backend to trust this issuer, exactly as written, or use the authorization server that it trusts',
  },
  {
    code: 'backend_refuses_key',
    pattern: /\bkid\b|\bjwks?\b|\bkeys?\b|\bsignature\b/i,
    what: 'the signing key of the issued token',
    fix: "check that the backend reads the keys of this issuer's jwks_uri, and can reach it",
  },
];

function refusedFinding(refused: CallResponse, said: readonly string[], token: IssuedToken): Finding {
  const words = wordsOf(refused);
  const reason = REASONS.find(({ pattern }) => pattern.test(words));
  return problem(
    reason?.code ?? 'backend_refuses_token',
    `the backend refuses ${reason?.what ?? 'the issued token'}: ${said.join('; ')}`,
    {
      why: describeToken(bearerIn(token.authorization.reveal())),
      fix:
        reason?.fix ??
        "compare issuer, audience and key with the backend's settings, and check its log for this moment",
    },
  );
}

/** The backend's error code and explanation. URLs in the challenge are left out, because they may contain any word. */
function wordsOf({ header, text }: CallResponse): string {
  const challenges = parseChallenges(header('www-authenticate') ?? '') ?? [];
  const parameters = challenges.flatMap((challenge) => challenge.parameters);
  const named = parameters.filter(({ name }) => name === 'error' || name === 'error_description');
  return [...named.map(({ value }) => value), text].join(' ').replace(/https?:\/\/\S+/g, '');
}

/** The properties of the token that a backend may refuse. */
function describeToken(token: string): string {
  const claims = readClaims(token);
  if (claims === undefined) return 'the token is opaque, and the backend may require a JWT';
  const { alg, kid } = decodeProtectedHeader(token);
  const properties = { iss: claims.iss, aud: claims.aud, scope: claims.scope, alg, kid };
  const shown = Object.entries(properties).map(([name, value]) => `${name} ${JSON.stringify(value) ?? '(none)'}`);
  return printable(`the token has ${shown.join(', ')}`);
}
