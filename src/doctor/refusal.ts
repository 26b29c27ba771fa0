import type { JWTPayload } from 'jose';
import type { AuthorizationServer } from '../config/config.ts';
import { clientFinding, isClientRefused, isSwitchedOff } from './client.ts';
import { type Finding, printable, problem } from './finding.ts';
import { place } from './metadata.ts';
import type { Observation, Refusal } from './observation.ts';
import { subjectRefused } from './subject.ts';

/** An exchange that a server refused: what was asked, with what, and what it said. */
export interface RefusedExchange {
  readonly server: AuthorizationServer;
  readonly answer: Observation;
  readonly refusal: Refusal;
  /** Claims of the subject token; undefined where it is opaque, or there was none. */
  readonly subject: JWTPayload | undefined;
}

/** A cause that can be told from an answer; the first that fits is it. */
type Cause = (refused: RefusedExchange) => Finding | undefined;

/** Why a server refused an exchange, and what to change. Pure: each odd answer of each server is a line in a table of tests. */
export function refusalFinding(refused: RefusedExchange): Finding {
  for (const cause of CAUSES) {
    const finding = cause(refused);
    if (finding !== undefined) return finding;
  }
  return problem('request_refused', `the exchange was refused: ${refused.refusal.shown}`, {
    mend: "see the server's log of this moment: it often says more than its answer",
  });
}

const CAUSES: readonly Cause[] = [
  keycloakAudience,
  subjectAudience,
  scopeForm,
  resourceRefused,
  consent,
  connectorId,
  requestedTokenType,
  subjectTokenType,
  ofClient,
  target,
  scope,
  interaction,
  subjectRefused,
  denied,
];

function keycloakAudience({ server, refusal, answer }: RefusedExchange): Finding | undefined {
  const { description, shown } = refusal;
  const asked = listed(answer.form.getAll('audience'));
  if (/requested audience not available/i.test(description)) {
    return problem('audience_mapper_missing', `the audience is known, but not this client's to ask for: ${shown}`, {
      why: `Keycloak only picks from the audiences that the client's own mappers would add, and none adds ${asked}`,
      mend: `give client "${server.clientId}" an audience mapper (oidc-audience-mapper) for ${asked}, or a client scope that has one`,
    });
  }
  if (refusal.error !== 'invalid_client' || !/audience not found/i.test(description)) return undefined;
  return problem('audience_unknown', `the server knows no ${asked}: ${shown}`, {
    why: 'at Keycloak "audience" is the client id of the backend',
    mend: `register a client named ${asked}, or write the backend's client id as the route's audience`,
  });
}

function subjectAudience({ server, subject, refusal }: RefusedExchange): Finding | undefined {
  const said = /not within the token audience|AADSTS500131|assertion audience does not match/i.test(
    refusal.description,
  );
  const seen =
    refusal.error === 'access_denied' &&
    subject?.aud !== undefined &&
    server.clientId !== undefined &&
    ![subject.aud].flat().includes(server.clientId);
  if (!said && !seen) return undefined;
  const aud = subject?.aud === undefined ? 'has no "aud" that can be read' : `is for ${listed([subject.aud].flat())}`;
  return problem('subject_audience_lacks_client', `the caller's token is not for us to exchange: ${refusal.shown}`, {
    why: `it ${aud}, and the server wants "${server.clientId}" in there`,
    mend: isEntra(server)
      ? `let the agent sign in for the scope api://${server.clientId}/.default, not for Graph or for itself`
      : `add "${server.clientId}" to the audience of tokens of the client that callers sign in to (Keycloak: an audience mapper there)`,
  });
}

/** Entra names the backend by scope alone. */
function scopeForm({ server, answer, refusal }: RefusedExchange): Finding | undefined {
  const said = /AADSTS(70011|1002012|28003|500011|900144)\b/.test(refusal.description);
  if (!said && !(isEntra(server) && refusal.error === 'invalid_scope')) return undefined;
  const sent = answer.form.get('scope');
  return problem(
    'scope_form',
    `the scope ${sent === null ? 'is missing' : `"${printable(sent)}" is refused`}: ${refusal.shown}`,
    {
      why: 'Entra names the backend by its scope alone: the application id URI, a slash, and .default or one scope',
      mend: "set the route's scope: api://<application id of the backend>/.default",
    },
  );
}

function resourceRefused({ answer, refusal }: RefusedExchange): Finding | undefined {
  const sent = answer.form.getAll('resource');
  if (sent.length === 0) return undefined;
  const named = /\bresource\b/i.test(refusal.description) && /invalid_request|invalid_target/.test(refusal.error);
  if (refusal.error !== 'invalid_target' && !named && !/AADSTS901002/.test(refusal.description)) return undefined;
  return problem('resource_refused', `the resource ${listed(sent)} is refused: ${refusal.shown}`, {
    why: 'the server does not know this resource; some (ZITADEL, authentik, Entra) refuse whatever resource is sent',
    mend: "name the backend by the route's audience or scope and set resource: [], or register the resource at the server",
  });
}

function consent({ server, refusal }: RefusedExchange): Finding | undefined {
  if (!/AADSTS65001|consent/i.test(refusal.description)) return undefined;
  return problem('consent_missing', `nobody has consented to this exchange: ${refusal.shown}`, {
    mend: `grant admin consent for client "${server.clientId}" on the backend's scope, or list it there as a known client`,
  });
}

function connectorId({ server, refusal }: RefusedExchange): Finding | undefined {
  if (!/connector/i.test(refusal.description)) return undefined;
  const sent = new Map(server.extraParams).get('connector_id');
  return problem(
    'connector_id_missing',
    `${sent === undefined ? 'no connector_id was sent' : `the connector_id "${printable(sent)}" is refused`}: ${refusal.shown}`,
    {
      why: 'Dex asks the connector that the subject token came from to verify it',
      mend: `set ${place(server)}.extra_params: { connector_id: <id of a connector that supports token exchange> }`,
    },
  );
}

function requestedTokenType({ answer, refusal }: RefusedExchange): Finding | undefined {
  if (!/requested_token_type/i.test(refusal.description)) return undefined;
  const sent = answer.form.get('requested_token_type');
  if (sent === null) {
    return problem('requested_token_type_needed', `the server wants to be told which type of token: ${refusal.shown}`, {
      mend: "set the route's requested_token_type, as access_token or (ZITADEL) jwt",
    });
  }
  return problem(
    'requested_token_type_refused',
    `the requested_token_type "${printable(sent)}" is refused: ${refusal.shown}`,
    {
      why: 'some servers (Auth0) refuse to be told, some (Keycloak) know access_token alone',
      mend: "leave the route's requested_token_type out, or name one that the server issues",
    },
  );
}

function subjectTokenType({ answer, refusal }: RefusedExchange): Finding | undefined {
  if (!/subject_token_type|subject token type/i.test(refusal.description)) return undefined;
  const sent = answer.form.get('subject_token_type') ?? '';
  return problem(
    'subject_token_type_refused',
    `the subject_token_type "${printable(sent)}" is refused: ${refusal.shown}`,
    {
      mend: "set the route's subject_token.type to what the server takes: id_token (Dex), jwt (tokendings), a custom URN (Auth0)",
    },
  );
}

function ofClient({ server, answer, refusal }: RefusedExchange): Finding | undefined {
  return isClientRefused(refusal) || isSwitchedOff(refusal) ? clientFinding(server, answer) : undefined;
}

function target({ answer, refusal }: RefusedExchange): Finding | undefined {
  if (refusal.error !== 'invalid_target') return undefined;
  const asked = answer.form.getAll('audience');
  return problem('target_refused', `the audience ${listed(asked)} is refused: ${refusal.shown}`, {
    why:
      asked.length > 1
        ? 'many servers take one audience at a time'
        : 'the server does not know it, or not for this client',
    mend: "write the route's audience as the server knows the backend, and let this client ask for it there",
  });
}

function scope({ answer, refusal }: RefusedExchange): Finding | undefined {
  if (refusal.error !== 'invalid_scope') return undefined;
  const sent = answer.form.get('scope');
  return problem('scope_refused', `the scope "${printable(sent ?? '')}" is refused: ${refusal.shown}`, {
    mend: "allow this client these scopes at the server, or take from the route's scope what it does not know",
  });
}

function interaction({ refusal }: RefusedExchange): Finding | undefined {
  if (refusal.error !== 'interaction_required') return undefined;
  return problem('interaction_required', `the user has to act first: ${refusal.shown}`, {
    why: 'a policy of the server wants, say, a second factor; a caller is told so with 401 and the claims',
    mend: 'sign in anew with the claims of the challenge, and give the token of that sign-in',
  });
}

function denied({ refusal }: RefusedExchange): Finding | undefined {
  if (refusal.error !== 'access_denied') return undefined;
  return problem('access_denied', `a policy of the server does not allow this exchange: ${refusal.shown}`, {
    why: 'the client may not act for this user, or not towards this backend; Dex says so of a bad subject token as well',
    mend: "see the server's exchange policies or permissions for this client, user and backend",
  });
}

function isEntra(server: AuthorizationServer): boolean {
  return /login\.microsoftonline\.|sts\.windows\.net/.test(server.issuer ?? server.tokenEndpoint ?? '');
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.map((name) => `"${printable(name)}"`).join(', ');
}
