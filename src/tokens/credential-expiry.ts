import { X509Certificate } from 'node:crypto';
import type { AuthorizationServer, Config, CredentialSource, TlsFiles } from '../config/config.ts';
import { readCredential } from '../config/credential.ts';
import { readClaims } from './claims.ts';
import type { TokenObserver } from './observer.ts';

/** A credential of ours that may say when it ends, under the name that messages and metrics have for it. */
interface Expiring {
  readonly name: string;
  readonly source: CredentialSource;
  readonly endSeconds: (content: string) => number | undefined;
}

/**
 * Reads every credential that a config names and that may say when it ends, whether or not it is in use just now.
 * One that cannot be read is left out: whoever needs it says so.
 */
export async function readExpiries(config: Config, credentialRead: TokenObserver['credentialRead']): Promise<void> {
  await Promise.all(
    expiringIn(config).map(async ({ name, source, endSeconds }) => {
      const content = await readCredential(source, name).catch(() => undefined);
      const seconds = content === undefined ? undefined : endSeconds(content.reveal());
      if (seconds !== undefined) credentialRead(name, seconds);
    }),
  );
}

/** The names of those credentials. */
export function expiringNames(config: Config): Set<string> {
  return new Set(expiringIn(config).map(({ name }) => name));
}

function expiringIn({ routes, authorizationServers }: Config): Expiring[] {
  const ofRoutes = routes.flatMap(({ name, credential, subjectToken, tls }) => {
    const actor = credential.kind === 'exchange' ? credential.actorToken?.source : undefined;
    const own = credential.kind === 'exchange' ? subjectToken.file : undefined;
    return [
      ...token(`actor token of route "${name}"`, actor),
      ...token(`subject token of route "${name}"`, own),
      ...tlsCertificate(`route "${name}"`, tls),
    ];
  });
  return [...ofRoutes, ...authorizationServers.flatMap(ofServer)];
}

function ofServer({ name, clientAuth, tls }: AuthorizationServer): Expiring[] {
  const whose = `authorization server "${name}"`;
  const assertion = clientAuth.method === 'client_assertion' ? clientAuth.clientAssertion : undefined;
  const signing = clientAuth.method === 'private_key_jwt' ? clientAuth.certificate : undefined;
  return [
    ...token(`client assertion of ${whose}`, assertion),
    ...certificate(`client certificate of ${whose}`, signing),
    ...tlsCertificate(whose, tls),
  ];
}

function token(name: string, source: CredentialSource | undefined): Expiring[] {
  return source === undefined ? [] : [{ name, source, endSeconds: endOfToken }];
}

/** Named as the connection pools name it. */
function tlsCertificate(name: string, tls: TlsFiles | undefined): Expiring[] {
  return certificate(name, tls?.certificate === undefined ? undefined : { file: tls.certificate });
}

function certificate(name: string, source: CredentialSource | undefined): Expiring[] {
  return source === undefined ? [] : [{ name, source, endSeconds: endOfCertificate }];
}

function endOfToken(content: string): number | undefined {
  const exp: unknown = readClaims(content.trim())?.exp;
  return typeof exp === 'number' ? exp : undefined;
}

function endOfCertificate(content: string): number | undefined {
  try {
    return Date.parse(new X509Certificate(content).validTo) / 1000;
  } catch {
    return undefined;
  }
}
