import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type Config, tlsListeners } from '../config/config.ts';
import type { TlsFiles } from '../config/kinds.ts';
import { ownActor } from '../config/route.ts';
import type { CredentialSource } from '../secrets/credential.ts';

interface ExpiringCredential {
  /** As messages and metrics name it. */
  readonly name: string;
  readonly source: CredentialSource;
  readonly kind: 'token' | 'certificate';
}

export function expiringCredentials(config: Config): ExpiringCredential[] {
  const { routes, authorizationServers, intercept } = config;
  const ofRoutes = routes.flatMap(({ name, credential, subjectToken, tls }) => {
    const actor = credential.kind === 'exchange' ? ownActor(credential) : undefined;
    const own = credential.kind === 'exchange' ? subjectToken.own : undefined;
    return [
      ...token(`actor token of route "${name}"`, actor),
      ...token(`subject token of route "${name}"`, own),
      ...token(`secret of route "${name}"`, credential.kind === 'secret' ? credential.source : undefined),
      ...tlsCertificate(`route "${name}"`, tls),
    ];
  });
  const ca = intercept?.ca.kind === 'files' ? { file: intercept.ca.certificate } : undefined;
  const ofListeners = tlsListeners(config).flatMap(({ name, tls }) =>
    certificate(`certificate of ${name}`, { file: tls.certificate }),
  );
  return [
    ...ofRoutes,
    ...authorizationServers.flatMap(ofServer),
    ...certificate('certificate of intercept.ca', ca),
    ...ofListeners,
  ];
}

function ofServer({ name, clientAuth, tls }: AuthorizationServer): ExpiringCredential[] {
  const whose = `authorization server "${name}"`;
  const assertion = clientAuth.method === 'client_assertion' ? clientAuth.clientAssertion : undefined;
  const signing = clientAuth.method === 'private_key_jwt' ? clientAuth.certificate : undefined;
  return [
    ...token(`client assertion of ${whose}`, assertion),
    ...certificate(`client certificate of ${whose}`, signing),
    ...tlsCertificate(whose, tls),
  ];
}

function token(name: string, source: CredentialSource | undefined): ExpiringCredential[] {
  return source === undefined ? [] : [{ name, source, kind: 'token' }];
}

/** The name must equal the one in connection pools. */
function tlsCertificate(name: string, tls: TlsFiles | undefined): ExpiringCredential[] {
  const { certificate: file, within } = tls ?? {};
  return certificate(name, file === undefined ? undefined : { file, ...(within !== undefined && { within }) });
}

function certificate(name: string, source: CredentialSource | undefined): ExpiringCredential[] {
  return source === undefined ? [] : [{ name, source, kind: 'certificate' }];
}
