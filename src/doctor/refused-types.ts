import { type Finding, printable, problem } from './finding.ts';
import { place } from './metadata.ts';
import type { FailedExchange } from './oauth-error.ts';

/** What Dex wants beside the RFC. */
export function connectorId({ server, refusal }: FailedExchange): Finding | undefined {
  if (!/connector/i.test(refusal.description)) return undefined;
  const sent = new Map(server.extraParams).get('connector_id');
  return problem(
    'connector_id_missing',
    `${sent === undefined ? 'no connector_id was sent' : `the connector_id "${printable(sent)}" is refused`}: ${refusal.shown}`,
    {
      why: 'Dex asks the connector that the subject token came from to verify it',
      fix: `set ${place(server)}.extra_params: { connector_id: <id of a connector that supports token exchange> }`,
    },
  );
}

export function requestedTokenType({ answer, refusal }: FailedExchange): Finding | undefined {
  if (!/requested_token_type/i.test(refusal.description)) return undefined;
  const sent = answer.form.get('requested_token_type');
  if (sent === null) {
    return problem(
      'requested_token_type_required',
      `the server wants to be told which type of token: ${refusal.shown}`,
      {
        fix: "set the route's requested_token_type, as access_token (Google) or jwt (ZITADEL)",
      },
    );
  }
  return problem(
    'requested_token_type_refused',
    `the requested_token_type "${printable(sent)}" is refused: ${refusal.shown}`,
    {
      why: 'some servers (Auth0) refuse to be told, some (Keycloak) know access_token alone',
      fix: "leave the route's requested_token_type out, or name one that the server issues",
    },
  );
}

export function subjectTokenType({ answer, refusal }: FailedExchange): Finding | undefined {
  if (!/subject_token_type|subject token type/i.test(refusal.description)) return undefined;
  const sent = answer.form.get('subject_token_type') ?? '';
  return problem(
    'subject_token_type_refused',
    `the subject_token_type "${printable(sent)}" is refused: ${refusal.shown}`,
    {
      fix: "set the route's subject_token.type to what the server takes: access_token (Keycloak, Okta), id_token (Dex), jwt (tokendings, Google), the custom URN of a token exchange profile (Auth0), one that a processor policy maps (PingFederate)",
    },
  );
}
