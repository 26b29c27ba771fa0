import type { AuthorizationServer } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { Grant } from '../tokens/token-request.ts';
import type { CheckContext } from './check-context.ts';
import { clientFinding, encodingFinding, encodingMatters, INVALID_TOKEN, unusedFinding } from './client-auth.ts';
import { clockFinding, skewOf } from './clocks.ts';
import { type Finding, problem } from './finding.ts';
import { metadataFindings, place } from './metadata.ts';
import type { RecordedRequest } from './recorded-request.ts';
import type { Role } from './roles.ts';
import { unreachable } from './unreachable.ts';

/** What routes need to know of a server that was looked at. */
export interface ServerHealth {
  /** False: asking it for a token would only find the same once more. */
  readonly fit: boolean;
  /** By its Date header, where it sends one. */
  readonly clock: 'unknown' | 'agrees' | 'differs';
}

type Found = (finding: Finding) => void;

/**
 * Reaches a server, reads its metadata and its clock, and finds out whether it accepts our client.
 * @param role undefined: no route asks it for anything
 */
export async function checkServer(
  server: AuthorizationServer,
  role: Role | 'ourselves' | undefined,
  context: CheckContext,
  found: Found,
): Promise<ServerHealth> {
  let fit = true;
  const note = (finding: Finding) => {
    if (finding.severity === 'error') fit = false;
    found(finding);
  };
  const from = context.requests.length;
  const traded = role === 'ourselves' ? undefined : role;
  for (const finding of await locate(server, traded, context)) note(finding);
  if (fit && role === undefined) note(unusedFinding());
  // A token of our own shows by itself whether the client is accepted.
  if (fit && traded !== undefined) note(await tryClient(server, traded, context));
  const timed = context.requests.slice(from).find(({ headers }) => headers.date !== undefined);
  const skew = timed && skewOf({ ...timed, date: timed.headers.date });
  if (skew === undefined) return { fit, clock: 'unknown' };
  // A clock that is wrong is no reason not to look further.
  const finding = clockFinding(skew, 'the Date header');
  found(finding);
  return { fit, clock: finding.severity === 'ok' ? 'agrees' : 'differs' };
}

/** Finds the token endpoint and reads the credential, as the program does before its first request. */
async function locate(server: AuthorizationServer, role: Role | undefined, context: CheckContext): Promise<Finding[]> {
  const from = context.requests.length;
  const failure = await failureOf(() => context.endpoint(server).prepare());
  const answers = context.requests.slice(from);
  if (failure?.code === 'ERR_CREDENTIAL_UNAVAILABLE') {
    return [...metadataFindings(server, role?.grant, answers, undefined), credentialFinding(failure)];
  }
  const [first] = answers;
  if (failure !== undefined && first !== undefined && answers.every(({ status }) => status === undefined)) {
    return [await unreachableServer(server, first)];
  }
  return metadataFindings(server, role?.grant, answers, failure?.message);
}

/** Why no answer came from a server. */
export function unreachableServer(server: AuthorizationServer, { url, error }: RecordedRequest): Promise<Finding> {
  const { tls, timeoutMs } = server;
  const at = place(server);
  const places = {
    address: `${at}.issuer or token_endpoint`,
    timeout: `${at}.timeout`,
    ca: `${at}.tls.ca`,
    certificate: `${at}.tls.certificate and private_key`,
  };
  return unreachable({ url, error, places, ca: tls?.ca, timeoutMs });
}

export function credentialFinding(failure: CambistError): Finding {
  return problem('credential_unavailable', failure.message, {
    fix: 'put it there, or run doctor where cambist runs, as its user',
  });
}

/** Sends a worthless subject token: whoever refuses that, and not the client, has accepted the client. */
async function tryClient(server: AuthorizationServer, role: Role, context: CheckContext): Promise<Finding> {
  const answer = await probe(server, role, context);
  if (answer instanceof CambistError) return credentialFinding(answer);
  if (answer.status === undefined) return unreachableServer(server, answer);
  const finding = clientFinding(server, answer);
  if (finding.code !== 'client_refused') return finding;
  const { clientAuth } = server;
  if (clientAuth.method !== 'client_secret_basic' || !encodingMatters(answer.authorization)) return finding;
  const other = clientAuth.basicEncoding === 'form' ? 'raw' : 'form';
  const twin = { ...server, clientAuth: { ...clientAuth, basicEncoding: other } } as const;
  const second = await probe(twin, role, context);
  const accepted = !(second instanceof CambistError) && clientFinding(twin, second).code === 'client_accepted';
  return accepted ? encodingFinding(server, other) : finding;
}

async function probe(
  server: AuthorizationServer,
  role: Role,
  { endpoint, requests }: CheckContext,
): Promise<RecordedRequest | CambistError> {
  const grant: Grant =
    role.grant === 'jwt_bearer'
      ? { kind: 'jwt_bearer', assertion: INVALID_TOKEN, from: 'caller' }
      : {
          kind: 'token_exchange',
          subjectToken: INVALID_TOKEN,
          subjectTokenType: role.subjectTokenType,
          actor: undefined,
        };
  const from = requests.length;
  const failure = await failureOf(() => endpoint(server).requestToken(grant, role.target, role.wanted));
  const answer = requests.slice(from).findLast(({ method }) => method === 'POST');
  return answer ?? failure ?? new CambistError('ERR_INTERNAL', 'no request was sent');
}

/** What the program throws on purpose; anything else is a fault of ours, and passes. */
export async function failureOf(work: () => Promise<unknown>): Promise<CambistError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof CambistError) return error;
    throw error;
  }
}
