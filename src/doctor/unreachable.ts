import { readPeerCertificate } from './certificate.ts';
import { concernsCertificate, connectionFinding, type FailedConnection } from './connection.ts';
import type { Finding } from './finding.ts';

/** Why no answer came from a peer; looks at its certificate where that can tell more. */
export async function unreachable(failed: Omit<FailedConnection, 'certificate'>): Promise<Finding> {
  const { url, error } = failed;
  const certificate = concernsCertificate(url, error) ? await readPeerCertificate(url) : undefined;
  return connectionFinding({ ...failed, certificate });
}
