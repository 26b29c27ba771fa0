import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type Config, tlsListeners } from '../config/config.ts';
import type { TlsFiles } from '../config/kinds.ts';
import { ownActor, type Route } from '../config/route.ts';
import type { CredentialSource } from '../secrets/credential.ts';

/** A credential that the config may have, by the name in messages and metrics. */
type Candidate = readonly [name: string, kind: 'token' | 'certificate', source: CredentialSource | undefined];

export function expiringCredentials(config: Config) {
  const { routes, authorizationServers, intercept } = config;
  const ca = intercept?.ca.kind === 'files' ? { file: intercept.ca.certificate } : undefined;
  const listeners = tlsListeners(config);
  const candidates: Candidate[] = [
    ...routes.flatMap(ofRoute),
    ...authorizationServers.flatMap(ofServer),
    ['certificate of intercept.ca', 'certificate', ca],
    ...listeners.map(
      ({ name, tls }): Candidate => [`certificate of ${name}`, 'certificate', { file: tls.certificate }],
    ),
  ];
  return candidates.flatMap(([name, kind, source]) => (source === undefined ? [] : [{ name, kind, source }]));
}

function ofRoute({ name, credential, subjectToken, tls }: Route): Candidate[] {
  const isExchange = credential.kind === 'exchange';
  return [
    [`actor token of route "${name}"`, 'token', isExchange ? ownActor(credential) : undefined],
    [`subject token of route "${name}"`, 'token', isExchange ? subjectToken.own : undefined],
    [`secret of route "${name}"`, 'token', credential.kind === 'secret' ? credential.source : undefined],
    tlsCertificate(`route "${name}"`, tls),
  ];
}

function ofServer({ name, clientAuth, tls }: AuthorizationServer): Candidate[] {
  const whose = `authorization server "${name}"`;
  const assertion = clientAuth.method === 'client_assertion' ? clientAuth.clientAssertion : undefined;
  const signing = clientAuth.method === 'private_key_jwt' ? clientAuth.certificate : undefined;
  return [
    [`client assertion of ${whose}`, 'token', assertion],
    [`client certificate of ${whose}`, 'certificate', signing],
    tlsCertificate(whose, tls),
  ];
}

/** The name must equal the one in connection pools. */
function tlsCertificate(name: string, tls: TlsFiles | undefined): Candidate {
  const { certificate: file, within } = tls ?? {};
  return [name, 'certificate', file === undefined ? undefined : { file, ...(within !== undefined && { within }) }];
}
