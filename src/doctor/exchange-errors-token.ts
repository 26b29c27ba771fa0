import { type Finding, listed, printable, problem } from './finding.ts';
import { type FailedExchange, isEntra } from './oauth-error.ts';

/** The caller's token is not for who exchanges it. */
export function subjectAudience(refused: FailedExchange): Finding | undefined {
  const { server, subject, refusal } = refused;
  const aud = subject?.aud === undefined ? 'has no "aud" that can be read' : `is for ${listed([subject.aud].flat())}`;
  const what = `the caller's token is not for us to exchange: ${refusal.shown}`;
  if (/audience in (the )?ID token/i.test(refusal.description)) {
    return problem('subject_audience_refused', what, {
      why: `it ${aud}, and the provider in the workload identity pool allows other audiences`,
      fix: 'add what stands in its "aud" to the allowed audiences of the provider',
    });
  }
  const said =
    /not within the token audience|AADSTS500131|assertion audience does not match|audience does not match client/i.test(
      refusal.description,
    );
  const seen =
    refusal.error === 'access_denied' &&
    subject?.aud !== undefined &&
    server.clientId !== undefined &&
    ![subject.aud].flat().includes(server.clientId);
  if (!said && !(seen && !isDexOnToken(refused))) return undefined;
  return problem('subject_audience_lacks_client', what, {
    why: `it ${aud}, and the server wants "${server.clientId}" in there`,
    fix: isEntra(refused)
      ? `let the agent sign in for the scope api://${server.clientId}/.default, not for Graph or for itself`
      : `add "${server.clientId}" to the audience of tokens of the client that callers sign in to (Keycloak: an audience mapper there)`,
  });
}

/** ZITADEL only picks among the audiences of the caller's token. */
export function subjectLacksTarget({ answer, subject, refusal }: FailedExchange): Finding | undefined {
  if (!/not found in (the )?subject/i.test(refusal.description)) return undefined;
  const scoped = refusal.error === 'invalid_scope';
  const asked = scoped ? (answer.form.get('scope')?.split(' ') ?? []) : answer.form.getAll('audience');
  const has = scoped || subject?.aud === undefined ? '' : `: it is for ${listed([subject.aud].flat())}`;
  return problem(
    'subject_lacks_target',
    `the caller's token has not what is asked for, ${listed(asked)}: ${refusal.shown}`,
    {
      why: `ZITADEL gives no more than is in the caller's token${has}`,
      fix: scoped
        ? 'let the agent sign in with these scopes, or take them out of the scope of the route'
        : 'let the agent sign in with the scope urn:zitadel:iam:org:project:id:<project of the backend>:aud as well, and name that project as the audience',
    },
  );
}

/** The caller's token is of an issuer that the server does not take tokens of. */
export function subjectIssuer(refused: FailedExchange): Finding | undefined {
  const { server, subject, refusal, answer } = refused;
  const iss = subject?.iss;
  const of = iss === undefined ? 'an issuer that cannot be read' : `issuer "${printable(iss)}"`;
  const what = `the server refused the caller's token: ${refusal.shown}`;
  if (/connecting to .*issuer/i.test(refusal.description)) {
    return problem('subject_issuer_unreachable', what, {
      why: `the server cannot fetch the metadata or keys of ${of}, or not the key that signed the token`,
      fix: 'make /.well-known/openid-configuration and jwks_uri of that issuer reachable for the server, or upload the keys to it (Google: the JWKS of the provider)',
    });
  }
  const said = /issuer in (the )?ID token|token from issuer|subject[_ ]token.*\bissuer/i.test(refusal.description);
  // Of other types the tokens of others are exchanged, too.
  const type = answer.form.get('subject_token_type') ?? ':access_token';
  const own = /:(access_token|id_token)$/.test(type) && !refused.secondLeg && !isDexOnToken(refused);
  const seen = own && isBlamed(refused) && iss !== undefined && server.issuer !== undefined && iss !== server.issuer;
  if (!said && !seen) return undefined;
  return problem('subject_issuer_differs', what, {
    why: `the token is of ${of}, and the server is "${server.issuer ?? server.tokenEndpoint}"`,
    fix: 'use a token of this very server, or let it trust that issuer (Okta: trusted servers; authentik: federated providers; Google: the issuer of the provider); if both are the same one reached by two names, give it one fixed name (Keycloak: its hostname setting)',
  });
}

/** LemonLDAP::NG exchanges what it issued to the very client that asks, and does not say that it does not. */
export function subjectOfOtherClient({ server, subject, refusal }: FailedExchange): Finding | undefined {
  const client = subject?.client_id ?? subject?.azp;
  if (refusal.error !== 'invalid_request' || refusal.description !== '') return undefined;
  if (typeof client !== 'string' || client === server.clientId) return undefined;
  return problem('subject_of_other_client', `the server refused, and did not say why: ${refusal.shown}`, {
    why: `the caller's token was issued to client "${printable(client)}"; LemonLDAP::NG exchanges only tokens of the very client that asks, "${server.clientId}"`,
    fix: `let the agent sign its users in with client "${server.clientId}"`,
  });
}

/** In a chain: the first server has just made it, so that a new token of the caller leads to the same. */
export function assertionRefused(refused: FailedExchange): Finding | undefined {
  if (!refused.secondLeg || !isBlamed(refused)) return undefined;
  const { server, refusal } = refused;
  return problem('assertion_refused', `the assertion of the chain's first server is refused: ${refusal.shown}`, {
    why: 'this server does not trust that one, is not its audience, knows the client or the user by another name, or has another clock',
    fix: `let "${server.name}" trust the first server as an issuer of assertions for client "${server.clientId}", see that its issuer is what it calls itself, and that it knows the user`,
  });
}

/** Why a server may have refused the subject token itself. */
export function subjectRefused(refused: FailedExchange): Finding | undefined {
  if (!isBlamed(refused)) return undefined;
  const { server, subject, refusal } = refused;
  const aud = subject?.aud === undefined ? '' : ` (its "aud" is ${printable(JSON.stringify(subject.aud))})`;
  return problem('subject_token_refused', `the server refused the caller's token: ${refusal.shown}`, {
    why: `it may be expired, revoked or of an ended session, be of another type than subject_token.type says, or not be for "${server.clientId}"${aud}`,
    fix: isDexOnToken(refused)
      ? 'use an ID token of the issuer behind the connector of connector_id, for the client that this connector has there'
      : 'obtain a new one; if that is refused as well, see subject_token.type and the audience of tokens that callers sign in for',
  });
}

/** Does the server find fault with the token that it was shown? */
function isBlamed(refused: FailedExchange): boolean {
  const { error, description } = refused.refusal;
  if (/^invalid_(grant|token)$/.test(error) || isDexOnToken(refused)) return true;
  return error === 'invalid_request' && (description === '' || /token|assertion/i.test(description));
}

/** Dex says so, and no more, of a subject token that its connector does not take. */
function isDexOnToken({ refusal }: FailedExchange): boolean {
  return refusal.status === 401 && refusal.error === 'access_denied' && refusal.description === '';
}
